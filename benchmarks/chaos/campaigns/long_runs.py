"""Long trainings, validations and searches: memory, files and threads stay bounded; workers end with the run."""

from __future__ import annotations

import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.chaos.programs import START_S, command, descendants, kill, start, wait_until
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, draw_pictures, iterations_done

GROWTH_MB = 40.0
"""Largest growth of a process, and of its largest worker, from the second quarter of its work to the last."""
ENDED_S = 15.0
"""Longest that a worker may outlive its run."""
BEGUN = 0.25
"""Share of the work that is warm-up; the same share follows it, and ends it."""
LOADERS = ("pillow", "dali")
WAYS = {"end": 0, "error": 2, "SIGTERM": 0, "SIGINT": 0, "SIGKILL": -9}
"""What ends a run, and its exit status then."""

_MSE_ALONE = ("--loss.lambda-g", 0, "--loss.lambda-c", 0, "--loss.lambda-dis", 0)

_SEARCHES = """
import sys
from intact_fast.cli import main
pictures, index, model, count = sys.argv[1:]
for number in range(int(count)):
    arguments = ["search", "--model", model, "--gallery", pictures, "--index", index, "--query", pictures, "--json"]
    assert main(arguments) == 0
    print(f"done {number + 1}", file=sys.stderr, flush=True)
"""


@dataclass(frozen=True)
class Use:
    """What a process uses."""

    megabytes: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """Look at a process."""
        place = Path("/proc") / str(pid)
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
        return cls(int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(place / "fd")), int(status["Threads"]))


@dataclass(frozen=True)
class Sample:
    """What a run and its workers use after some iterations."""

    done: int
    own: Use
    workers: tuple[Use, ...]


def run(trial: Trial) -> list[Promise]:
    """Train long, search often, and end runs in every way."""
    pictures = draw_pictures(trial.folder)
    own = ("--data.height", 32, "--data.width", 16, "--training.validate-every", 0)
    options = [*OPTIONS, *own, "--data.root", pictures, "--runs", trial.folder / "runs"]
    first = bounded(trial, options)
    with ThreadPoolExecutor(2) as lanes:
        others = [lanes.submit(searched, trial, pictures), lanes.submit(ended, trial, options)]
    return [first, *(promise.result() for promise in others)]


def is_running(pid: int) -> bool:
    """Say whether a process runs; one that is dead and waited for by nobody does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def bounded(trial: Trial, options: list[Any]) -> Promise:
    """Watch long trainings: many iterations with each loader, and many validations."""
    promise = Promise(
        f"From the second quarter of 2,000 iterations, or 200 validations, to the last one memory of a training and of "
        f"its workers grows by less than {GROWTH_MB:.0f} MB. Open files and threads do not grow."
    )
    iterations, validations = trial.count(2000), trial.count(200)
    kinds = {
        "pillow": ["--data.backend", "pillow", "--training.iterations", iterations],
        # all losses in one of them are enough
        "dali": ["--data.backend", "dali", "--training.iterations", iterations, *_MSE_ALONE],
        "validations": [
            *("--data.backend", "pillow", "--training.iterations", validations, "--training.validate-every", 1)
        ],
    }
    logged = max(1, validations // 10)
    processes = {}
    for name, own in kinds.items():
        often = ["--training.log-every", logged, "--training.checkpoint-every", 5 * logged, "--data.threads", 2]
        arguments = command("intact_fast.train", [*options, *own, *often, "--name", name])
        processes[name] = start(arguments, log=trial.folder / f"{name}.log")
    samples: dict[str, list[Sample]] = {name: [] for name in kinds}
    while any(process.poll() is None for process in processes.values()):
        for name, process in processes.items():
            sample = look(process, iterations_done(trial.folder / "runs" / name))
            if sample is not None:
                samples[name].append(sample)
        time.sleep(0.2)
    for name, process in processes.items():
        if process.returncode != 0:
            promise.test(False, (trial.folder / f"{name}.log").read_text()[-300:])
        else:
            total = validations if name == "validations" else iterations
            judge(promise, name, samples[name], total, has_workers=name != "dali")
    return promise


def look(process: subprocess.Popen[str], done: int) -> Sample | None:
    """Look at a process and those below it; None where it has just ended, or does not train yet."""
    if done == 0 or process.poll() is not None:
        return None
    try:
        return Sample(done, Use.of(process.pid), tuple(map(Use.of, descendants(process.pid))))
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return None


def judge(promise: Promise, name: str, samples: Sequence[Sample], total: int, has_workers: bool = False) -> None:
    """Compare what was used in the second quarter of the work with what was used in its last one."""
    # after the last iteration a run evaluates, which takes other memory
    during = [sample for sample in samples if sample.done < total]
    early = [sample for sample in during if sample.done <= 2 * BEGUN * total and sample.done >= BEGUN * total]
    late = [sample for sample in during if sample.done >= (1 - BEGUN) * total]
    if not early or not late:
        promise.test(False, f"{name}: too few samples, {len(early)} and {len(late)}")
        return
    before, after = (statistics.median(sample.own.megabytes for sample in some) for some in (early, late))
    promise.test(after - before < GROWTH_MB, f"{name}: {before:.0f} MB, later {after:.0f}")
    promise.figures[f"{name}, MB"] = f"{before:.0f} → {after:.0f}"
    workers = [[use for sample in some for use in sample.workers] for some in (early, late)]
    if has_workers and not all(workers):
        promise.test(False, f"{name}: no workers were seen")
    elif has_workers:
        mine, later = (max(use.megabytes for use in some) for some in workers)
        promise.test(later - mine < GROWTH_MB, f"{name}, the largest worker: {mine:.0f} MB, later {later:.0f}")
        promise.figures[f"{name}, worker, MB"] = f"{mine:.0f} → {later:.0f}"
    for what in ("files", "threads"):
        # a file that is being written, or a thread between two loaders, is seen in few samples
        usual = [statistics.median_low(getattr(sample.own, what) for sample in some) for some in (early, late)]
        promise.test(usual[1] <= usual[0], f"{name}: {usual[0]} {what}, later {usual[1]}")
        promise.figures[f"{name}, {what}"] = f"{usual[0]} → {usual[1]}"


def searched(trial: Trial, pictures: Path) -> Promise:
    """Search many times in one process, each time with a look at the folder."""
    promise = Promise(
        f"From the second quarter of 50 searches to the last one memory of a program grows by less than "
        f"{GROWTH_MB:.0f} MB. Open files and threads do not grow."
    )
    # the quarters of fewer are not seen
    total = max(12, trial.count(50))
    model = next((trial.folder / "runs").glob("*/model.safetensors"), None)
    if model is None:
        promise.test(False, "no training has left a model")
        return promise
    arguments = [pictures / "train", trial.folder / "i.lance", model, total]
    log = trial.folder / "searches.log"
    process = start([sys.executable, "-c", _SEARCHES, *map(str, arguments)], log=log)
    samples = []
    while process.poll() is None:
        sample = look(process, log.read_text(errors="replace").count("done "))
        if sample is not None:
            samples.append(sample)
        time.sleep(0.02)
    if process.returncode != 0:
        promise.test(False, log.read_text(errors="replace")[-300:])
    else:
        judge(promise, "searches", samples, total)
    return promise


def ended(trial: Trial, options: list[Any]) -> Promise:
    """End runs in every way, and look for what is left of them."""
    promise = Promise(
        f"No worker outlives its run by more than {ENDED_S:.0f} s, with either loader. Its last iteration, an error, "
        "SIGTERM, Ctrl-C or SIGKILL may end it."
    )
    cases = list(product(LOADERS, WAYS))[: trial.count(len(LOADERS) * len(WAYS))]
    with ThreadPoolExecutor(2) as pool:
        endings = list(pool.map(lambda case: ending(trial.folder, options, *case), cases))
    for (loader, way), (seconds, workers, said) in zip(cases, endings, strict=True):
        holds = seconds < ENDED_S and (workers > 0) == (loader == "pillow")
        promise.test(holds, f"{loader}, {way}: {workers} workers, {seconds:.0f} s: {said}")
    gone = [seconds for seconds, _, _ in endings if seconds < math.inf]
    promise.figures["seconds until the last worker has gone"] = round(max(gone, default=0.0), 1)
    return promise


def ending(folder: Path, options: list[Any], loader: str, way: str) -> tuple[float, int, str]:
    """End one run; for how long its workers outlived it, their number, and its last words.

    A run that has ended in another way counts as one whose workers stay for ever.
    """
    name = f"ended-{loader}-{way}"
    pictures, log = draw_pictures(folder / name), folder / f"{name}.log"
    iterations = 60 if way == "end" else 100_000
    own = ["--name", name, "--data.root", pictures, "--data.backend", loader, "--data.threads", 2]
    own += ["--training.iterations", iterations, "--training.log-every", 5, "--training.checkpoint-every", 50]
    run = folder / "runs" / name
    process = start(command("intact_fast.train", [*options, *own]), log=log)
    try:
        wait_until(lambda: iterations_done(run) > 0 or process.poll() is not None, START_S)
        below = descendants(process.pid)
        end(process, way, pictures)
        wait_until(lambda: process.poll() is not None, START_S)
        since = time.monotonic()
        gone = wait_until(lambda: not any(map(is_running, below)), ENDED_S)
        seconds = time.monotonic() - since
    finally:
        status = process.poll()
        kill(process)
    said = f"status {status} after {iterations_done(run)} iterations: {log.read_text()[-200:]}"
    as_asked = gone and status == WAYS[way] and iterations_done(run) > 0
    return seconds if as_asked else math.inf, len(below), said


def end(process: subprocess.Popen[str], way: str, pictures: Path) -> None:
    """End a training, or let it end."""
    if way == "error":
        for picture in pictures.rglob("*.jpg"):
            picture.write_bytes(b"no picture")
    elif way != "end":
        process.send_signal(getattr(signal, way))
