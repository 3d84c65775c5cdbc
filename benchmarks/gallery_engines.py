"""Databases for galleries: ``python -m benchmarks.gallery_engines --rows 1000000 [--record]``.

Needs ``pip install faiss-cpu usearch`` beside the package. Features are drawn: people of 20 pictures each. Every engine
does the same work, each step in a process of its own, so that a peak of memory is that step's:

add        batches of 5,000 rows, each committed; bytes written are those of ``write`` calls
kill       the same, ended by SIGKILL half-way; rows that were committed are counted after opening again
exact      opening, the exact top 10 of 64 queries and of one, and of 64 with a condition on a column
approximate  building an index, its recall of the exact top 10, and times; the least effort that reaches 0.98
change     another camera for 1,000 rows, and 1,000 rows deleted

``former`` is what the package did before: one safetensors file that is written again at every commit, and a product of
matrices in memory.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.evaluation_memory import peak_gb
from benchmarks.gallery_candidates import ENGINES, WIDTH, Engine
from benchmarks.record import machine_of, rounded, versions, write_record

BATCH, PICTURES, CAMERAS, QUERIES, TOP = 5000, 20, 6, 64, 10
NOISE = 0.8
"""Two pictures of a person have a cosine of about 0.6."""
RECALL = 0.98
STEPS = ("add", "kill", "exact", "approximate", "change")


def people(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((max(1, rows // PICTURES), WIDTH), dtype=np.float32)


def drawn(centres: np.ndarray, which: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((len(which), WIDTH), dtype=np.float32)
    features = centres[which] + NOISE * noise
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def batches(rows: int) -> Iterator[tuple[int, np.ndarray, list[str]]]:
    """Give the first row, features and cameras of each batch."""
    centres = people(rows)
    for begin in range(0, rows, BATCH):
        which = np.random.default_rng(begin).integers(0, len(centres), min(BATCH, rows - begin))
        yield begin, drawn(centres, which, begin + 1), [str((begin + i) % CAMERAS) for i in range(len(which))]


def queries(rows: int) -> np.ndarray:
    centres = people(rows)
    return drawn(centres, np.random.default_rng(7).integers(0, len(centres), QUERIES), 8)


def written() -> int:
    """Bytes that this process has handed to the system to write."""
    (line,) = (s for s in Path("/proc/self/io").read_text().splitlines() if s.startswith("wchar:"))
    return int(line.split()[1])


def timed(function: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """Median seconds of some calls after a first one, and the last result."""
    function()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - begin)
    return median(times), result


def recall(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def add(engine: Engine, rows: int) -> dict[str, Any]:
    drawing = writing = 0.0
    before, begin = written(), time.perf_counter()
    for first, features, cameras in batches(rows):
        drawing += time.perf_counter() - begin
        begin = time.perf_counter()
        if not engine.rewrites or rows <= 100_000:
            engine.add(first, features, cameras)
            print(first + len(features), flush=True)
        else:
            engine.hold(first, features, cameras)
        writing += time.perf_counter() - begin
        begin = time.perf_counter()
    begin = time.perf_counter()
    engine.finish()
    share = (written() - before) / (rows * WIDTH * 4)
    measured = not engine.rewrites or rows <= 100_000
    return {
        "seconds": writing + time.perf_counter() - begin,
        "bytes_per_byte": share if measured else None,
        "peak_gb": peak_gb(),
    }


def exact(engine: Engine, rows: int) -> dict[str, Any]:
    wanted = queries(rows)
    begin = time.perf_counter()
    engine.open()
    count = engine.count()
    opened = time.perf_counter()
    first = engine.exact(wanted, TOP)
    answered = time.perf_counter()
    many, found = timed(lambda: engine.exact(wanted, TOP))
    one, _ = timed(lambda: engine.exact(wanted[:1], TOP))
    result = {
        "rows": count,
        "open_s": opened - begin,
        "open_and_64_queries_s": answered - begin,
        "64_queries_s": many,
        "1_query_s": one,
        "peak_gb": peak_gb(),
        "found": found,
    }
    assert recall(first, found) == 1
    if engine.filters:
        result["64_queries_with_condition_s"], kept = timed(lambda: engine.exact(wanted, TOP, without_camera="3"))
        assert all(row % CAMERAS != 3 for row in np.ravel(kept))
    return result


def approximate(engine: Engine, rows: int, truth: Sequence[Sequence[int]]) -> dict[str, Any]:
    wanted = queries(rows)
    engine.open()
    begin = time.perf_counter()
    engine.build()
    result: dict[str, Any] = {"build_s": time.perf_counter() - begin, "build_peak_gb": peak_gb()}
    for effort in engine.efforts:
        engine.effort = effort
        many, found = timed(lambda: engine.approximate(wanted, TOP))
        result |= {"effort": effort, "recall": recall(found, truth), "64_queries_s": many}
        if result["recall"] >= RECALL:
            break
    result["1_query_s"], _ = timed(lambda: engine.approximate(wanted[:1], TOP))
    return result


def change(engine: Engine, rows: int) -> dict[str, Any]:
    engine.open()
    before, begin = written(), time.perf_counter()
    engine.set_camera(range(1000), "9")
    updated = time.perf_counter()
    engine.delete(range(1000, 2000))
    deleted = time.perf_counter()
    share = (written() - before) / (2000 * WIDTH * 4)
    engine.open()
    assert engine.count() == rows - 1000
    return {"update_1000_s": updated - begin, "delete_1000_s": deleted - updated, "bytes_per_byte": share}


def step(
    engine: str, name: str, folder: Path, rows: int, truth: Sequence[Sequence[int]] | None = None
) -> dict[str, Any]:
    """Do a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gallery_engines", "--rows", str(rows), "--child", engine, name]
    with tempfile.NamedTemporaryFile("w+", suffix=".json") as given:
        json.dump(truth, given)
        given.flush()
        arguments = [*command, str(folder), given.name]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
            assert process.stdout is not None
            if name != "kill":
                *_, last = process.stdout
                return json.loads(last)
            committed = 0
            while committed < rows // 2 and (line := process.stdout.readline()):
                committed = int(line)
            process.send_signal(signal.SIGKILL)
            committed = max([committed, *(int(line) for line in process.stdout if line.strip().isdecimal())])
    found = step(engine, "count", folder, rows)["rows"]
    return {"committed": committed, "found": found, "lost": max(0, committed - found)}


def child(name: str, what: str, folder: Path, rows: int, given: Path) -> None:
    engine = ENGINES[name](folder)
    if what in ("add", "kill"):
        result = add(engine, rows)
    elif what == "approximate":
        result = approximate(engine, rows, json.loads(given.read_text()))
    elif what == "count":
        engine.open()
        result = {"rows": engine.count()}
    else:
        result = {"exact": exact, "change": change}[what](engine, rows)
    print(json.dumps(result))


def measure(name: str, rows: int, folder: Path) -> dict[str, Any]:
    """Do all steps of an engine."""
    figures: dict[str, Any] = {}
    for what in STEPS:
        engine = ENGINES[name]
        if (what == "approximate" and not engine.efforts) or (what == "change" and engine.rewrites):
            continue
        place = folder / ("killed" if what == "kill" else "whole")
        place.mkdir(exist_ok=True)
        few = min(rows, 20 * BATCH) if what == "kill" else rows
        figures[what] = step(name, what, place, few, figures.get("exact", {}).get("found"))
        print(name, what, {key: value for key, value in figures[what].items() if key != "found"}, flush=True)
    figures["exact"].pop("found")
    if "approximate" in figures:
        for key in ("64_queries_s", "1_query_s"):
            figures["approximate"][f"speed_up_{key[:-2]}"] = figures["exact"][key] / figures["approximate"][key]
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all engines, print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--folder", type=Path, help="disk to work on; none takes the system's temporary folder")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--record", action="store_true", help="write a record")
    parser.add_argument("--note", action="append", default=[], help="what else a reader of the record has to know")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    if options.child:
        name, what, folder, given = options.child
        child(name, what, Path(folder), options.rows, Path(given))
        return
    figures = {}
    for name in options.engines:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            figures[name] = measure(name, options.rows, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rounded(figures), indent=1) + "\n", encoding="utf-8")
    if options.record:
        record = {
            "kind": "speed",
            "headline": headline(figures, options.rows),
            "machine": machine_of(torch.device("cpu")),
            "versions": versions("torch", "numpy", "pylance", "pyarrow", "faiss-cpu", "usearch"),
            "commands": {"engines": shlex.join(["python", "-m", "benchmarks.gallery_engines", *given])},
            "notes": [
                f"{options.rows:,} drawn features of {WIDTH} numbers, people of {PICTURES} pictures.",
                *options.note,
            ],
            "figures": rounded(figures),
        }
        print(f"record: {write_record(record, f'gallery-engines-{options.rows}')}")


def headline(figures: dict[str, Any], rows: int) -> str:
    """Say what the package's engine does."""
    lance = figures["lance"]
    return (
        f"With {rows:,} pictures Lance writes {lance['add']['bytes_per_byte']:.2f} bytes a byte, and answers 64 "
        f"queries exactly in {lance['exact']['open_and_64_queries_s']:.2g} s from the disk."
    )


if __name__ == "__main__":
    main()
