"""The cost of each term of G's loss per iteration: ``python -m benchmarks.loss_terms [PRESET] [--updates N]``.

The paper says that the association adds little. Recipes of Table 3 take turns in one run, on pictures already on the
device, L_dis acting from the first one; ``--updates`` is how often φ and σ are updated in each iteration.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record
from benchmarks.setup import device_of, make_step, random_batch, synchronise
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS
from intact_fast.experiments.recipes import apply

ROWS = ("sole-sr", "mse+id", "mse+id+gan", "intact")
INPUT_SETS, REPEATS = 4, 16


def measure_terms(config: Config, device: torch.device, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds per iteration of each row: median, least and most, and the ratio of medians to the row before."""
    steps = {name: make_step(apply(name, config), device) for name in ROWS}
    batches = [random_batch(config, config.training.batch_size, device, seed=i) for i in range(INPUT_SETS)]
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    # the first ones compile, tune and capture
    for number in range(-2 * INPUT_SETS, repeats):
        for name, step in steps.items():
            synchronise(device)
            begin = time.perf_counter()
            step(batches[number % INPUT_SETS], number + 2 * INPUT_SETS, False)
            synchronise(device)
            if number >= 0:
                times[name].append(1e3 * (time.perf_counter() - begin))
    medians = {name: statistics.median(row) for name, row in times.items()}
    before = dict(zip(ROWS, (ROWS[0], *ROWS), strict=False))
    return {
        name: {
            "median_ms": medians[name],
            "min_ms": min(row),
            "max_ms": max(row),
            "ratio": medians[name] / medians[before[name]],
        }
        for name, row in times.items()
    }


def main() -> None:
    """Measure, print and write a record."""
    parser = argparse.ArgumentParser(description="What each term of G's loss costs per iteration.")
    parser.add_argument("preset", nargs="?", choices=PRESETS, default="cpu")
    parser.add_argument("--updates", type=int, default=1)
    options = parser.parse_args()
    device = device_of()
    config = PRESETS[options.preset]
    association = replace(config.association, updates_per_iteration=options.updates, dis_warmup=0)
    # a table would have to be filled before its rows could be compared
    training = replace(config.training, f_c_table=False)
    config = replace(config, association=association, training=training)
    rows = measure_terms(config, device, REPEATS)
    for name, row in rows.items():
        print(f"{name:<14}{row['median_ms']:>10.1f} ms{row['ratio']:>8.2f} times the row before")
    last = rows[ROWS[-1]]
    record = {
        "kind": "speed",
        "headline": f"An iteration of {ROWS[-1]} takes {last['ratio']:.2f} times as long as one of {ROWS[-2]}.",
        "machine": machine_of(device),
        "versions": versions("torch", "triton", "numpy"),
        "commands": {"loss terms": f"python -m benchmarks.loss_terms {options.preset} --updates {options.updates}"},
        "preset": options.preset,
        "batch_size": config.training.batch_size,
        "rows": rounded(rows),
    }
    print(f"record: {write_record(record, name_of_machine(device) + '-loss-terms')}")


if __name__ == "__main__":
    main()
