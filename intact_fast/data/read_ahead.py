"""Reading with threads, one chunk ahead of whoever uses what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def read_ahead(
    items: Sequence[ItemT], read: Callable[[ItemT], ResultT], chunk_size: int, threads: int
) -> Iterator[tuple[Sequence[ItemT], list[ResultT]]]:
    """Read items a chunk at a time. The next chunk is being read while the caller uses one.

    A single item is read on the caller's thread, as starting another one takes longer than resizing a small picture.
    An exception of ``read`` is raised where its chunk would be given.

    Args:
        items: What to read.
        read: Called with one item, on several threads at once.
        chunk_size: Items per chunk; the last one may have fewer.
        threads: Threads that read, at least one.

    Yields:
        Each chunk of the items, and what ``read`` gave for them, in their order.
    """
    if len(items) == 1:
        yield items, [read(items[0])]
        return
    chunks = [items[start : start + chunk_size] for start in range(0, len(items), chunk_size)]
    with ThreadPoolExecutor(max(threads, 1)) as pool:

        def begin(chunk: Sequence[ItemT]) -> list[Future[ResultT]]:
            return [pool.submit(read, item) for item in chunk]

        pending = begin(chunks[0]) if chunks else []
        for chunk, following in zip(chunks, [*chunks[1:], ()], strict=False):
            current, pending = pending, begin(following)
            yield chunk, [future.result() for future in current]
