"""Features as they lie in a gallery's files, mapped into memory instead of read: the exact search's fast way.

Lance's format 2.0 keeps a list of fixed size as plain numbers, and its reader says where. What lies otherwise, such as
in an object store, beside deleted rows or in another format, is read by Lance.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from intact_fast.serving.gallery.engine import lance_file

_FORMATS = ((0, 3), (2, 0))
"""How a file and its table name format 2.0."""
_NUMBER = 4
_FILES = 10_000


def features_in_place(place: str, fragment: Any, width: int, rows: int) -> Iterator[Tensor] | None:
    """Map the features of a part of a table.

    Args:
        place: Folder of the table.
        fragment: The part.
        width: Numbers of a feature.
        rows: Rows at a time.

    Returns:
        N×D float32 in order, each valid until the next one; None where they lie otherwise.
    """
    files = fragment.data_files()
    if "://" in place or fragment.num_deletions or len(files) != 1:
        return None
    file = Path(place) / "data" / files[0].path
    if not file.is_file():
        return None
    ranges = _ranges(file)
    if sum(size for _, size in ranges) != fragment.physical_rows * width * _NUMBER:
        return None
    return _mapped(file, ranges, width, rows)


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


def _mapped(file: Path, ranges: tuple[tuple[int, int], ...], width: int, rows: int) -> Iterator[Tensor]:
    with file.open("rb") as opened:
        # private and writable, so that PyTorch takes it without a warning; nobody writes
        memory = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    step = rows * width * _NUMBER
    for position, size in ranges:
        for begin in range(position, position + size, step):
            length = min(step, position + size - begin)
            yield torch.frombuffer(memory, dtype=torch.float32, count=length // _NUMBER, offset=begin).view(-1, width)
            # what was compared need not count as this process's memory
            first = begin // mmap.PAGESIZE * mmap.PAGESIZE
            memory.madvise(mmap.MADV_DONTNEED, first, begin + length - first)
