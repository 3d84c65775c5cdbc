"""The least time of an iteration on a chip, summed by what its parts are for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.roofline.costs import FORMS, Work, work_of
from benchmarks.roofline.operation import Operation, Place


@dataclass(frozen=True)
class Chip:
    """Two rates that no launch exceeds.

    Attributes:
        name: In tables.
        flops: Operations per second of a large bfloat16 matrix product.
        copy: Bytes per second that a large copy reads and writes.
    """

    name: str
    flops: float
    copy: float


CHIPS = (
    Chip("H100, measured", 660e12, 2.39e12),
    Chip("H100, data sheet", 989e12, 3.35e12),
    Chip("H200, measured", 790e12, 4.3e12),
    Chip("H200, data sheet", 989e12, 4.8e12),
)
"""A large product and a large copy as they were measured, and NVIDIA's figures (SXM, without sparsity)."""

CACHE = 50 * 2**20
"""Bytes of the second-level cache of both chips."""


def seconds(work: Work, chip: Chip) -> float:
    """The longer of computing and moving."""
    return max(work.flops / chip.flops, work.moved / chip.copy)


def total_ms(work: Iterable[Work], chip: Chip) -> float:
    """Milliseconds of launches that run one after another."""
    return 1e3 * sum(seconds(one, chip) for one in work)


def part_of(place: Place) -> str:
    """Name the part of an iteration that a place belongs to."""
    update, network, direction = place
    if network in ("losses", "optimisers", "φ and σ"):
        return {"losses": "losses", "optimisers": "optimisers and averages", "φ and σ": "φ and σ"}[network]
    if network == "D":
        use = {"update of D": "D, own update", "update of φ and σ": "D, f_d of HR pictures"}.get(update, "D, judging G")
        return f"{use}, {direction}" if update != "update of φ and σ" else use
    return f"{network}, {direction}"


def by_part(operations: Sequence[Operation], chip: Chip) -> dict[str, dict[str, float]]:
    """Give each part's FLOPs, and of each form its bytes, its launches and its milliseconds."""
    return _summed(operations, chip, lambda work: part_of(work.place))


def by_kind(operations: Sequence[Operation], chip: Chip) -> dict[str, dict[str, float]]:
    """Give the same of each kind of operation."""
    return _summed(operations, chip, lambda work: work.kind)


def _summed(operations: Sequence[Operation], chip: Chip, name: Any) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for form in FORMS:
        for work in work_of(operations, form):
            row = found.setdefault(name(work), defaultdict(float))
            row[f"{form}_gb"] += work.moved / 1e9
            row[f"{form}_launches"] += work.launches
            row[f"{form}_ms"] += 1e3 * seconds(work, chip)
            if form == "launched":
                row["gflop"] += work.flops / 1e9
    return {key: dict(row) for key, row in found.items()}


def whole(operations: Sequence[Operation], batch_size: int) -> dict[str, Any]:
    """Give FLOPs of an iteration, and of each form bytes, launches, and milliseconds and pictures on each chip."""
    flops = sum(operation.flops for operation in operations)
    forms: dict[str, Any] = {
        "flops": {
            "gb": 0.0,
            "launches": 0,
            "ms": {chip.name: 1e3 * flops / chip.flops for chip in CHIPS},
            "img_per_s": {chip.name: batch_size * chip.flops / flops for chip in CHIPS},
        }
    }
    for form in FORMS:
        work = work_of(operations, form)
        times = {chip.name: total_ms(work, chip) for chip in CHIPS}
        forms[form] = {
            "gb": sum(one.moved for one in work) / 1e9,
            "launches": sum(one.launches for one in work),
            "ms": times,
            "img_per_s": {name: 1e3 * batch_size / ms for name, ms in times.items()},
        }
    return {"tflop": flops / 1e12, "forms": forms}
