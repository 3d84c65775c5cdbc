"""A bound on the time of one training iteration, without a GPU: ``python -m benchmarks.roofline [--record]``.

The networks of presets ``paper`` and ``best`` are walked at batches of 32, 64 and 128. ``--operations`` prints every
operation of one iteration. ``--flops`` and ``--copy`` put another chip in the place of the first one.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.record import RECORDS, machine_of, rounded, versions, write_record
from benchmarks.roofline.bound import CACHE, CHIPS, Chip, by_kind, by_part, part_of, total_ms, whole
from benchmarks.roofline.candidates import saved_by_candidates
from benchmarks.roofline.costs import FORMS, without_small, work_of
from benchmarks.roofline.operation import Operation
from benchmarks.roofline.trace import CPU, ready_task, trace_iteration
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS

NETWORKS = ("paper", "best")
BATCHES = (32, 64, 128)
MEASURED = "2026-11-26-nvidia-h100-80gb-hbm3-ladder"
"""The record of what the first network's iteration takes at the first batch."""


def config_of(preset: str) -> Config:
    """Give the preset's networks in the ladder's last form: bfloat16, shared passes, table of f_c, fused operators.

    Compiling and capturing change what is launched, and not which operations there are.
    """
    found = PRESETS[preset]
    fast = replace(found.training, precision="bf16", kernels="triton", f_c_table=True, compile="off", cuda_graph="off")
    return replace(found, training=fast)


def trace(preset: str, batch_size: int) -> list[Operation]:
    """Walk one iteration of a preset."""
    return trace_iteration(*ready_task(config_of(preset), batch_size))


def measured_ms() -> float:
    """Milliseconds of the fastest rung on an H100."""
    record = json.loads((RECORDS / f"{MEASURED}.json").read_text(encoding="utf-8"))
    return min(rung["median_ms"] for rung in record["ladder"])


def figures(preset: str, operations: Sequence[Operation], batch_size: int, chip: Chip, in_full: bool) -> dict[str, Any]:
    """Give what a record holds of one network at one batch; parts and candidates where ``in_full``."""
    found = whole(operations, batch_size)
    large = without_small(operations, CACHE)
    found["without_small_ms"] = {
        form: {one.name: total_ms(work_of(large, form), one) for one in CHIPS} for form in ("passes", "fused")
    }
    if in_full:
        found["parts"] = by_part(operations, chip)
        found["kinds"] = by_kind(operations, chip)
        found["candidates"] = saved_by_candidates(operations)
        for row in found["candidates"].values():
            row["ms"] = 1e3 * 1e9 * float(row["gb"]) / chip.copy
    return found


def print_operations(operations: Sequence[Operation], chip: Chip) -> None:
    """Print every distinct operation with its number, time, FLOPs and bytes."""
    rows = Counter(
        (part_of(o.place), o.kind, o.name, o.shapes, o.flops, o.own_bytes, o.launched_bytes) for o in operations
    )
    for (part, kind, name, shapes, flops, own, launched), count in rows.items():
        sizes = ", ".join("x".join(map(str, shape)) for shape in shapes)
        us = 1e6 * max(flops / chip.flops, launched / chip.copy)
        figures = f"{flops / 1e9:>9.2f} GFLOP {own / 1e6:>8.1f} MB, launched {launched / 1e6:>8.1f}"
        print(f"{count:>4} {us:>8.1f} us {figures}  {part}: {kind} {name} {sizes}")


def print_tables(preset: str, batch_size: int, found: dict[str, Any], chip: Chip) -> None:
    """Print one network's figures."""
    print(f"\n{preset}, batch {batch_size}: {found['tflop']:.3f} TFLOP; ms (pictures per second) at most on")
    print(f"{'':<12}{'GB':>8}{'launches':>10}" + "".join(f"{one.name:>24}" for one in CHIPS))
    for form, row in found["forms"].items():
        cells = "".join(f"{row['ms'][one.name]:>15.2f} ({row['img_per_s'][one.name]:>6.0f})" for one in CHIPS)
        print(f"{form:<12}{row['gb']:>8.2f}{row['launches']:>10}{cells}")
    for title in ("parts", "kinds"):
        if title in found:
            print(f"\n{title}, ms on {chip.name}" + " " * 20 + "GFLOP  " + "  ".join(f"{form:>9}" for form in FORMS))
            for name, row in found[title].items():
                cells = "  ".join(f"{row.get(f'{form}_ms', 0.0):>9.3f}" for form in FORMS)
                print(f"{name:<36}{row.get('gflop', 0.0):>11.1f}  {cells}")
    if "candidates" in found:
        print("\ncandidates: GB and ms that they save of the compiled form")
        for name, row in found["candidates"].items():
            print(f"{name:<96}{row['gb']:>7.2f}{row['ms']:>8.3f}  needs {row['needs']}")


def record_of(found: dict[str, Any], chip: Chip, batches: Sequence[int]) -> dict[str, Any]:
    """Give the record of all networks and batches."""
    forms = found[NETWORKS[0]][str(batches[0])]["forms"]
    best = forms["passes"]["img_per_s"][chip.name]
    folded = forms["fused"]["img_per_s"][chip.name]
    name = chip.name.split(",")[0]
    return {
        "kind": "speed",
        "headline": f"With library convolutions an {name} trains at most {best:,.0f} pictures per second, with folded "
        f"ones {folded:,.0f}.",
        "machine": machine_of(CPU),
        "versions": versions("torch"),
        "commands": {"roofline": "python -m benchmarks.roofline --record"},
        "notes": ["A count, not a measurement: the networks are walked without a GPU."],
        "chips": {one.name: {"tflop_per_s": one.flops / 1e12, "gb_per_s": one.copy / 1e9} for one in CHIPS},
        "cache_bytes": CACHE,
        "measured": {"record": MEASURED, "ms": measured_ms()},
        "networks": rounded(found),
    }


def main() -> None:
    """Walk the networks, print the tables and write a record where that is asked for."""
    parser = argparse.ArgumentParser(description="A bound on the time of one training iteration.")
    parser.add_argument("--record", action="store_true", help="also write a record")
    parser.add_argument("--operations", action="store_true", help="print every operation of the first batch")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--flops", type=float, default=CHIPS[0].flops / 1e12, help="TFLOP/s of a large product")
    parser.add_argument("--copy", type=float, default=CHIPS[0].copy / 1e9, help="GB/s of a large copy")
    options = parser.parse_args()
    chip = replace(CHIPS[0], flops=1e12 * options.flops, copy=1e9 * options.copy)
    found: dict[str, Any] = {}
    for preset in NETWORKS:
        for number, batch_size in enumerate(options.batches):
            operations = trace(preset, batch_size)
            if options.operations and number == 0:
                print_operations(operations, chip)
            row = figures(preset, operations, batch_size, chip, in_full=number == 0)
            print_tables(preset, batch_size, row, chip)
            found.setdefault(preset, {})[str(batch_size)] = row
    print(f"\nmeasured on an H100, preset paper, batch 32: {measured_ms():.1f} ms ({MEASURED})")
    if options.record:
        print(f"record: {write_record(record_of(found, chip, options.batches), 'roofline')}")


if __name__ == "__main__":
    main()
