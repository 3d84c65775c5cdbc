"""Features as they lie in a gallery's files, mapped into memory instead of read: the fast way of a search.

Lance's format 2.0 keeps a list of fixed size as plain numbers, and its reader says where. What lies otherwise, such as
in an object store, beside deleted rows or in another format, is read by Lance.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intact_fast.serving.gallery.engine import lance_file

_FORMATS = ((0, 3), (2, 0))
"""How a file and its table name format 2.0."""
_NUMBER = 4
_FILES = 10_000


@dataclass(frozen=True)
class Part:
    """A part of a table, and where its features lie.

    Attributes:
        fragment: Lance's name for it.
        rows: How many it has, without those that were deleted.
        width: Numbers of a feature.
        ranges: Position and size in bytes of the features in its file, in order; empty where Lance has to read them.
        file: Its file.
    """

    fragment: Any
    rows: int
    width: int
    ranges: tuple[tuple[int, int], ...]
    file: Path

    @property
    def is_in_place(self) -> bool:
        """Whether `blocks` and `read` can be used."""
        return bool(self.ranges)

    def blocks(self, rows: int) -> Iterator[Tensor]:
        """Map the features, some rows at a time: N×D float32 in order, each valid until the next one."""
        memory, size = self._mapped(), self.width * _NUMBER
        for position, length in self.ranges:
            for begin in range(position, position + length, rows * size):
                here = min(rows * size, position + length - begin)
                yield self._features(memory, begin, here)
                # what was compared need not count as this process's memory
                first = begin // mmap.PAGESIZE * mmap.PAGESIZE
                memory.madvise(mmap.MADV_DONTNEED, first, begin + here - first)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Copy the features of some rows, which are sorted: N×D float32."""
        memory, size, done, found = self._mapped(), self.width * _NUMBER, 0, []
        for position, length in self.ranges:
            here = rows[np.searchsorted(rows, done) : np.searchsorted(rows, done + length // size)]
            if len(here):
                found.append(self._features(memory, position, length)[torch.from_numpy(here - done)])
            done += length // size
        return torch.cat(found)

    def _mapped(self) -> mmap.mmap:
        with self.file.open("rb") as opened:
            # private and writable, so that PyTorch takes it without a warning; nobody writes
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=protection)

    def _features(self, memory: mmap.mmap, position: int, length: int) -> Tensor:
        flat = torch.frombuffer(memory, dtype=torch.float32, count=length // _NUMBER, offset=position)
        return flat.view(-1, self.width)


def parts_of(place: str, dataset: Any, width: int) -> tuple[Part, ...]:
    """Look up the parts of a table.

    Args:
        place: Folder of the table, or its address in an object store.
        dataset: Lance's table.
        width: Numbers of a feature.
    """
    return tuple(_part(place, fragment, width) for fragment in dataset.get_fragments())


def _part(place: str, fragment: Any, width: int) -> Part:
    files = fragment.data_files()
    ranges: tuple[tuple[int, int], ...] = ()
    file = Path(place) / "data" / files[0].path
    rows = fragment.count_rows()
    # rows that were deleted lie in the file still
    if "://" not in place and not fragment.num_deletions and len(files) == 1 and file.is_file():
        ranges = _ranges(file)
        if sum(size for _, size in ranges) != rows * width * _NUMBER:
            ranges = ()
    return Part(fragment, rows, width, ranges, file)


# no file of a table ever changes, and asking takes two milliseconds
@lru_cache(_FILES)
def _ranges(file: Path) -> tuple[tuple[int, int], ...]:
    """Find position and size in bytes of the features in a file; empty where they are no plain numbers."""
    metadata = lance_file.LanceFileReader(str(file)).metadata()
    names = metadata.schema.names
    if (metadata.major_version, metadata.minor_version) not in _FORMATS or names[-1:] != ["feature"]:
        return ()
    pages = metadata.columns[-1].pages
    if len(metadata.columns) != len(names) or any(len(page.buffers) != 1 for page in pages):
        return ()
    return tuple((page.buffers[0].position, page.buffers[0].size) for page in pages)
