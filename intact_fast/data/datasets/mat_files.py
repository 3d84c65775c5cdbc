"""MATLAB's files as others wrote them: how much they hold is looked at before it is read."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from intact_fast.data.decoding import MOST_PIXELS

_HEADER = 128
_COMPRESSED, _LARGEST_KIND = 15, 18
_MOST_BYTES = 2**26
"""Of a list of names, unpacked; the new protocol's file has 2 MB."""
_MOST_CELLS = 10**7


def check_level5(path: Path) -> None:
    """See that a file of lists is of MATLAB's level 5 and small when it is unpacked; scipy would unpack anything.

    Raises:
        ValueError: It is something else.
    """
    content = path.read_bytes()
    if len(content) > _MOST_BYTES or content[126:128] not in (b"IM", b"MI"):
        raise ValueError("no file of MATLAB's level 5")
    order: Any = "little" if content[126:128] == b"IM" else "big"
    at, left = _HEADER, _MOST_BYTES
    while at + 8 <= len(content):
        kind, length = (int.from_bytes(content[at + i : at + i + 4], order) for i in (0, 4))
        body = content[at + 8 : at + 8 + length]
        if not 0 < kind <= _LARGEST_KIND or len(body) < length:
            raise ValueError("its end is missing")
        left -= len(zlib.decompressobj().decompress(body, left)) if kind == _COMPRESSED else length
        if left <= 0:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
        at += 8 + length


def read_dataset(release: Any, dataset: Any) -> Any:
    """Read an array of an HDF5 file, which may claim any size, and name other files to read it from.

    Args:
        release: The open file.
        dataset: In it.

    Raises:
        ValueError: It is no array of a size that pictures or lists of them have, or lies in another file.
    """
    shape = getattr(dataset, "shape", None)
    if shape is None or not hasattr(dataset, "dtype"):
        raise ValueError("a cell holds no array")
    if dataset.external or dataset.is_virtual or dataset.file.filename != release.filename:
        raise ValueError("an array lies in another file")
    if dataset.size > (3 * MOST_PIXELS if len(shape) == 3 else _MOST_CELLS):
        raise ValueError(f"an array claims the shape {shape}")
    return dataset[()]
