"""The bytes that an iteration moves, in forms from what is launched now to what own convolutions could leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.roofline.operation import Kind, Operation, Place

Form = Literal["launched", "compiled", "passes", "fused"]
FORMS: tuple[Form, ...] = ("launched", "compiled", "passes", "fused")
"""From the most bytes to the least.

launched: each operation by itself, with the fused operators.
compiled: chains of elementwise operations and of PyTorch's own normalisations are one launch, as a compiler makes them.
passes: all that lies between two convolutions is one launch. It reads a batch twice where it takes statistics.
fused: all that lies between two convolutions is part of these, and both gradients of a convolution are one launch.
"""

MATRIX: frozenset[Kind] = frozenset({"convolution", "depthwise", "linear"})
"""What is a launch of its own in each form."""


@dataclass(frozen=True)
class Work:
    """Launches that count as one.

    Attributes:
        place: Where in the iteration.
        kind: Of the matrix product, or of the first operation.
        flops: FLOPs.
        moved: Bytes.
        launches: How many launches it is.
    """

    place: Place
    kind: Kind
    flops: int
    moved: int
    launches: int


def work_of(operations: Sequence[Operation], form: Form) -> list[Work]:
    """Give what is launched in one of the `FORMS`."""
    if form == "launched":
        return [_alone(operation) for operation in operations]
    if form == "fused":
        return _fused(operations)
    return _grouped(operations, _joins_when_compiled if form == "compiled" else _joins_between_convolutions)


def without_small(operations: Sequence[Operation], limit: int) -> list[Operation]:
    """Let tensors of at most ``limit`` bytes move for nothing, as if the cache held each between two launches."""

    def large(sizes: dict[int, int]) -> dict[int, int]:
        return {number: size for number, size in sizes.items() if size > limit}

    found = []
    for o in operations:
        sizes = {name: large(getattr(o, name)) for name in ("reads", "writes", "again", "unfoldable")}
        smaller = replace(o, **sizes)
        found.append(replace(smaller, launched_bytes=smaller.own_bytes + sum(smaller.again.values())))
    return found


def _alone(o: Operation) -> Work:
    return Work(o.place, o.kind, o.flops, o.launched_bytes, o.launches)


def _joins_when_compiled(operation: Operation) -> bool:
    return operation.name.startswith("native_batch_norm") or operation.kind == "elementwise"


def _joins_between_convolutions(operation: Operation) -> bool:
    return operation.kind in ("elementwise", "normalisation", "shuffle", "pooling")


def _levels(operations: Sequence[Operation]) -> list[int]:
    """How many matrix products lie before each operation: two on either side of one are never a single launch."""
    of_memory: dict[int, int] = defaultdict(int)
    levels = []
    for operation in operations:
        level = max((of_memory[number] for number in operation.reads), default=0)
        levels.append(level)
        for number in operation.writes:
            of_memory[number] = max(of_memory[number], level + (operation.kind in MATRIX))
    return levels


def _group_numbers(operations: Sequence[Operation], joins: Callable[[Operation], bool]) -> list[int]:
    """Number each operation's group: what reads another's result joins it, at the same level of the same pass."""
    levels = _levels(operations)
    parent = list(range(len(operations)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    writer: dict[int, int] = {}
    for i, operation in enumerate(operations):
        for memory in operation.reads:
            j = writer.get(memory)
            if j is None or not (joins(operation) and joins(operations[j])):
                continue
            before = operations[j].place
            if levels[i] == levels[j] and before.direction == operation.place.direction:
                parent[root(i)] = root(j)
        writer.update(dict.fromkeys(operation.writes, i))
    return [root(i) for i in range(len(operations))]


def _grouped(operations: Sequence[Operation], joins: Callable[[Operation], bool]) -> list[Work]:
    numbers = _group_numbers(operations, joins)
    members: dict[int, list[Operation]] = defaultdict(list)
    readers: dict[int, set[int]] = defaultdict(set)
    for number, operation in zip(numbers, operations, strict=True):
        members[number].append(operation)
        for memory in operation.reads:
            readers[memory].add(number)
    return [
        _as_one(group, number, readers) if joins(group[0]) else _alone(group[0]) for number, group in members.items()
    ]


def _as_one(group: Sequence[Operation], number: int, readers: dict[int, set[int]]) -> Work:
    """One launch: what it reads from outside and what is read outside, each once, and statistics' second look."""
    reads: dict[int, int] = {}
    writes: dict[int, int] = {}
    again = 0
    for operation in group:
        for memory, size in operation.reads.items():
            if memory not in writes:
                reads[memory] = max(reads.get(memory, 0), size)
        writes |= operation.writes
        again += sum(operation.again.values())
    kept = sum(size for memory, size in writes.items() if readers[memory] != {number})
    largest = max(group, key=lambda o: o.own_bytes)
    kind = next((o.kind for o in group if o.kind == "normalisation"), largest.kind)
    return Work(largest.place, kind, 0, sum(reads.values()) + kept + again, 1 + (again > 0))


def _fused(operations: Sequence[Operation]) -> list[Work]:
    """Matrix products with their own tensors once; what cannot be folded is added to the next one."""
    work: list[Work] = []
    folded: dict[Place, int] = defaultdict(int)
    for o in operations:
        if o.kind in MATRIX or o.kind in ("optimiser", "average"):
            work.append(Work(o.place, o.kind, o.flops, o.own_bytes + folded.pop(o.place, 0), 1))
        else:
            folded[o.place] += sum(o.unfoldable.values())
    return work + [Work(place, "normalisation", 0, extra, 1) for place, extra in folded.items() if extra]
