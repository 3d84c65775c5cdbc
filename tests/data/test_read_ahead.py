from __future__ import annotations

import threading

import pytest

from intact_fast.data.read_ahead import read_ahead
from intact_fast.data.sampling import evenly_spaced


def test_chunks_come_in_order_with_what_was_read() -> None:
    chunks = list(read_ahead(range(5), lambda item: 10 * item, chunk_size=2, threads=3))
    assert [list(items) for items, _ in chunks] == [[0, 1], [2, 3], [4]]
    assert [read for _, read in chunks] == [[0, 10], [20, 30], [40]]
    assert list(read_ahead([], str, chunk_size=2, threads=1)) == []


def test_the_next_chunk_is_read_while_one_is_used() -> None:
    started = threading.Event()

    def read(item: int) -> int:
        if item == 1:
            started.set()
        return item

    chunks = read_ahead([0, 1, 2], read, chunk_size=1, threads=1)
    next(chunks)
    assert started.wait(timeout=60)
    assert [read for _, read in chunks] == [[1], [2]]


def test_an_error_is_raised_at_its_chunk() -> None:
    def read(item: int) -> float:
        return 1 / item

    chunks = read_ahead([2, 1, 0], read, chunk_size=2, threads=2)
    assert next(chunks)[1] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(chunks)


def test_evenly_spaced_items_include_the_first_and_the_last() -> None:
    assert evenly_spaced(range(10), 4) == [0, 3, 6, 9]
    assert evenly_spaced("abc", 8) == ["a", "b", "c"]
    assert evenly_spaced([], 3) == []
