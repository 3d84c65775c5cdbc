"""Several processes that share an evaluation, each taking every n-th batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from intact_fast.data.manifest import Entry

T = TypeVar("T")


class Processes(Protocol):
    """Processes that share an evaluation and all get its result."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        ...

    @property
    def world_size(self) -> int:
        """Number of processes."""
        ...

    def share(self, function: Callable[[], T]) -> list[T]:
        """Call a function on every process; the values in order of rank, or the first UserError, everywhere."""
        ...

    def on_main(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0 alone; its value, or its UserError, everywhere."""
        ...


class _SingleProcess:
    rank = 0
    world_size = 1

    def share(self, function: Callable[[], T]) -> list[T]:
        return [function()]

    def on_main(self, function: Callable[[], T]) -> T:
        return function()


SINGLE_PROCESS: Processes = _SingleProcess()
"""One process that evaluates everything."""


def entries_of_process(entries: Sequence[Entry], batch_size: int, processes: Processes) -> list[Entry]:
    """Give one process every n-th batch, so that any number of processes computes the same batches."""
    starts = range(processes.rank * batch_size, len(entries), processes.world_size * batch_size)
    return [entry for start in starts for entry in entries[start : start + batch_size]]


def interleaved(shares: Sequence[Sequence[T]]) -> list[T]:
    """Join what processes computed batch by batch in the order of the entries."""
    count = sum(len(share) for share in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(count)]
