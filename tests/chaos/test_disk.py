"""What the campaign of disks stands on: a disk that is full before a chosen file, and whose room comes back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.chaos.campaigns import disk
from benchmarks.chaos.children import end_of, side_by_side, start
from benchmarks.chaos.small_disks import free, may_mount, small_disk
from intact_fast.errors import UserError, fail
from intact_fast.files import write_atomically


def write_all(place: Path) -> int:
    try:
        for name in ("first.pt", "second.pt"):
            with write_atomically(place / name) as temporary:
                temporary.write_bytes(name.encode())
    except UserError as error:
        return fail(error, debug=False)
    return 0


def test_a_disk_is_full_from_a_file_on_until_it_is_freed(tmp_path: Path) -> None:
    if not may_mount(tmp_path / "probe"):
        pytest.skip("needs the right to mount a tmpfs")
    log = tmp_path / "log"
    with small_disk(tmp_path / "disk") as place:
        kept = tmp_path / "kept"
        fill = partial(disk.fill_before, place, "second.pt", kept)
        full = start(lambda: write_all(place), log, place, prepare=lambda board: fill())
        assert full.wait() == [2]
        assert disk.one_line(log, "second.pt", "No space left on device", "make room") == []
        assert disk.one_line(log, "first.pt") != []
        assert (place / "first.pt").read_bytes() == b"first.pt"
        assert not (place / "second.pt").exists()
        free(place)
        assert start(lambda: write_all(place), log, place).wait() == [0], end_of(log)
        assert (place / "second.pt").read_bytes() == b"second.pt"


def test_works_side_by_side_give_what_they_find_in_order() -> None:
    assert side_by_side([lambda number=number: number**2 for number in range(5)]) == [0, 1, 4, 9, 16]
