"""Run campaigns, print their promises with counts, and write a record where asked."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import shlex
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.chaos.promise import Promise, Trial
from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record

CAMPAIGNS: tuple[str, ...] = (
    *("killed_trainings", "killed_commands", "killed_tables", "ranks", "disk", "bad_files", "paths"),
    *("long_runs", "numbers", "determinism"),
)
"""Modules of `campaigns`, in the order in which they run."""
SHOWN = 3
"""Broken trials of a promise that are printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run campaigns; the exit status is 1 where a promise did not hold."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--campaign", choices=CAMPAIGNS, action="append", help="may be given several times")
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts, above 0 up to 1")
    parser.add_argument("--seed", type=int, default=0, help="of what the campaigns draw")
    parser.add_argument("--record", action="store_true", help="write a record")
    options = parser.parse_args(words)
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share}: give a number above 0, up to 1")
    results: dict[str, list[Promise]] = {}
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    for name in options.campaign or CAMPAIGNS:
        results[name], seconds[name] = in_a_process(name, options.share, options.seed)
        print(f"\n{name}, {seconds[name]:.0f} s", flush=True)
        for promise in results[name]:
            show(promise)
    whole = time.perf_counter() - begin
    print(f"\n{headline(results)} {whole:.0f} s", flush=True)
    if options.record:
        record = {
            "kind": "reliability",
            "headline": headline(results),
            "machine": machine_of(torch.device("cpu")),
            "versions": versions("torch", "numpy", "pillow", "nvidia-dali-cuda130", "pylance"),
            "commands": {"chaos": shlex.join(["python", "-m", "benchmarks.chaos", *words])},
            "seconds": rounded(whole),
            "figures": rounded({name: figures(results[name], seconds[name]) for name in results}),
        }
        name = f"{name_of_machine(torch.device('cpu'))}-chaos"
        print(f"record: {write_record(record, name)}")
    return int(any(promise.broken for promises in results.values() for promise in promises))


def in_a_process(name: str, share: float, seed: int) -> tuple[list[Promise], float]:
    """Run one campaign in a process of its own; its promises and how many seconds it took.

    What one campaign has imported, started or leaked is nothing to the next. It is forked from the main thread: what a
    thread of a pool has forked ends with status 1 whatever it did, as it waits for itself at its end.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        trial = Trial(Path(folder).resolve(), share, seed)
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            promises = pool.submit(run_campaign, name, trial).result()
    return promises, time.perf_counter() - begin


def run_campaign(name: str, trial: Trial) -> list[Promise]:
    """Run one campaign in this process, whose forks would wait for ever for OpenMP threads that it had."""
    torch.set_num_threads(1)
    # Lance warns of forks whoever uses it; here the children alone do
    warnings.filterwarnings("ignore", "lance is not fork-safe", UserWarning)
    try:
        return list(importlib.import_module(f"benchmarks.chaos.campaigns.{name}").run(trial))
    # the other campaigns go on, and the record says which one did not
    except Exception:
        traceback.print_exc()
        ended = Promise("The campaign comes to its end")
        ended.test(False, traceback.format_exc().strip().splitlines()[-1])
        return [ended]


def show(promise: Promise) -> None:
    """Print a promise, how often it held, and what was seen where it did not."""
    held = promise.trials - len(promise.broken)
    measured = "".join(f"; {name} {value}" for name, value in rounded(promise.figures).items())
    print(f"  {held}/{promise.trials}  {promise.text}{measured}", flush=True)
    for line in promise.broken[:SHOWN]:
        print(f"      broken: {line}", flush=True)
    if len(promise.broken) > SHOWN:
        print(f"      … and {len(promise.broken) - SHOWN} more", flush=True)


def figures(promises: Sequence[Promise], seconds: float) -> dict[str, object]:
    """Give a campaign as its record keeps it."""
    rows = [
        {"promise": promise.text, "trials": promise.trials, "broken": promise.broken, **promise.figures}
        for promise in promises
    ]
    return {"seconds": seconds, "promises": rows}


def headline(results: dict[str, list[Promise]]) -> str:
    """Say how many trials there were, and how many promises did not hold."""
    promises = [promise for found in results.values() for promise in found]
    trials, broken = sum(p.trials for p in promises), sum(bool(p.broken) for p in promises)
    return f"{len(promises)} promises in {trials:,} trials; {broken or 'none'} broken."


if __name__ == "__main__":
    sys.exit(main())
