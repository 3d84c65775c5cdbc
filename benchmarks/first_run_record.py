"""The record of `make train` over seeds: ``python -m benchmarks.first_run_record RUN … --note TEXT``.

Each run is a folder that ``make train ARGS="--name first-SEED --seed SEED"`` left behind: the rows of its own table,
those that ``--compare`` trained beside it, and what its association ended with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine_of, versions, write_record
from benchmarks.table_record import BOUND, spread
from intact_fast.config.command_line import from_yaml
from intact_fast.experiments.summary import mean_std
from intact_fast.reporting.curves import read_metrics

_VIEWS = {"lr": ("lr", "LR queries without SR"), "sr": ("intact", "INTACT"), "hr": (BOUND, "HR queries (upper bound)")}
_LABELS = {"mse+id": "MSE and identity", "light+query-critic": "light G and C_q"}
_HEALTH = {
    "validation/r2": "φ's R² on held-out people",
    "validation/r2_ridge": "R² of ridge regression there",
    "association/weight": "weight of L_dis",
}

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs")
    parser.add_argument("--note", nargs="*", default=[], help="what the reader must know of how they ran")
    options = parser.parse_args(arguments)
    seeds = [_seed(run) for run in options.runs]
    rows = _rows(options.runs)
    record = {
        "kind": "training",
        "headline": _headline(rows, len(seeds)),
        "machine": machine_of(torch.device("cpu")),
        "versions": versions("torch", "nvidia-dali-cuda130", "pillow", "numpy"),
        "commands": {"make train": "make train", "a seed": 'make train ARGS="--name first-1 --seed 1"'},
        "notes": [*options.note, *_health(options.runs)],
        "rows": {name: _row(name, label, by_seed, seeds) for name, (label, by_seed) in rows.items()},
    }
    print(f"record: {write_record(record, 'cpu-2-cores-make-train')}")


def _seed(run: Path) -> int:
    return from_yaml((run / "config.yaml").read_text(encoding="utf-8"), str(run)).seed


def _rows(runs: Sequence[Path]) -> dict[str, tuple[str, list[Figures]]]:
    """Label and figures by seed of each row: the run's own, then those beside it."""
    found: dict[str, tuple[str, list[Figures]]] = {}
    for run in runs:
        evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
        for view, (name, label) in _VIEWS.items():
            found.setdefault(name, (label, []))[1].append(evaluation["rows"][evaluation["views"][view]])
        for path in sorted((run / "rows").glob("*/result.json")):
            result = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(result["recipe"], (_LABELS[result["recipe"]], []))[1].append(result["figures"])
    order = ["lr", "mse+id", "intact", "light+query-critic", BOUND]
    return {name: found[name] for name in order if name in found}


def _row(name: str, label: str, by_seed: Sequence[Figures], seeds: Sequence[int]) -> dict[str, Any]:
    spreads = {key: mean_std([figures[key] for figures in by_seed]) for key in by_seed[0]}
    return {
        "recipe": name,
        "label": label,
        "seeds": list(seeds),
        "figures": {key: spread(mean, deviation) for key, (mean, deviation) in spreads.items()},
        "by_seed": [{key: round(figures[key], 3) for key in ("Rank-1", "mAP")} for figures in by_seed],
    }


def _headline(rows: Mapping[str, tuple[str, list[Figures]]], seeds: int) -> str:
    (intact, deviation), (lr, _) = (mean_std([f["Rank-1"] for f in rows[name][1]]) for name in ("intact", "lr"))
    over_seeds = "" if deviation is None else f" ± {deviation:.1f}"
    return f"`make train`, {seeds} seeds: INTACT's Rank-1 is {intact:.1f}{over_seeds}, that of LR queries {lr:.1f}."


def _health(runs: Sequence[Path]) -> list[str]:
    """The last figures of the association, from the least to the greatest of the seeds."""
    lines = []
    for key, name in _HEALTH.items():
        last = [list(read_metrics(run)["INTACT"][key].values())[-1] for run in runs]
        lines.append(f"{name} at the end: {min(last):.2f} to {max(last):.2f}")
    return lines


if __name__ == "__main__":
    main()
