"""Reading a gallery's features: all of them in order, or those of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from numpy.typing import NDArray
from torch import Tensor

from intact_fast.serving.gallery.engine import engine_errors, pa
from intact_fast.serving.gallery.in_place import Part
from intact_fast.serving.gallery.store import Gallery

_ROWS = 16384
"""Rows of the gallery in memory at a time, 32 MiB of features."""
_BUFFER = 2**26


def scan(gallery: Gallery, columns: Sequence[str], condition: str | None) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Read the features of a gallery some thousand rows at a time, in order.

    Args:
        gallery: Where they are.
        columns: To read beside them.
        condition: SQL with types; None reads all rows.

    Yields:
        N×D float32, which is valid until the next one, N offsets in the table, and an Arrow table of the columns.
    """
    done = 0
    with engine_errors(f"--index {gallery.place}" if condition is None else f"--where {condition}"):
        kept = None if condition is None else _offsets(gallery, condition)
        for part in gallery.parts():
            if kept is not None and not len(_some(kept, done, part.rows)):
                done += part.rows
                continue
            for features, table in _blocks(gallery, part, columns):
                here = None if kept is None else _some(kept, done, len(features))
                if here is None or len(here) == len(features):
                    yield features, torch.arange(done, done + len(features)), table
                elif len(here):
                    chosen = torch.from_numpy(here - done)
                    yield features[chosen], torch.from_numpy(here), None if table is None else table.take(here - done)
                done += len(features)


def _offsets(gallery: Gallery, condition: str) -> Any:
    """Find the rows of a condition, in order."""
    table = gallery.dataset.scanner(columns=["_rowoffset"], filter=condition).to_table()
    return np.sort(table["_rowoffset"].to_numpy().astype(np.int64))


def _some(kept: Any, begin: int, size: int) -> Any:
    """Give those of some sorted offsets that lie in a range."""
    return kept[np.searchsorted(kept, begin) : np.searchsorted(kept, begin + size)]


def _blocks(gallery: Gallery, part: Part, columns: Sequence[str]) -> Iterator[tuple[Tensor, Any]]:
    if not part.is_in_place:
        scanner = gallery.dataset.scanner(
            columns=[*columns, "feature"],
            fragments=[part.fragment],
            batch_size=_ROWS,
            batch_readahead=2,
            io_buffer_size=_BUFFER,
            scan_in_order=True,
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield _features(batch), batch
        return
    table = part.fragment.to_table(columns=list(columns)) if columns else None
    done = 0
    for features in part.blocks(_ROWS):
        yield features, None if table is None else table.slice(done, len(features)).combine_chunks()
        done += len(features)


def features_at(gallery: Gallery, rows: NDArray[np.int64]) -> Tensor:
    """Read the features of some rows.

    Args:
        gallery: Where they are.
        rows: Offsets in the table, sorted, each once.

    Returns:
        N×D float32.
    """
    found = torch.empty(len(rows), gallery.width)
    done = 0
    with engine_errors(f"--index {gallery.place}"):
        for part in gallery.parts():
            begin, end = np.searchsorted(rows, [done, done + part.rows])
            if begin < end and part.is_in_place:
                found[begin:end] = part.read(rows[begin:end] - done)
            elif begin < end:
                found[begin:end] = _features(gallery.dataset.take(rows[begin:end].tolist(), columns=["feature"]))
            done += part.rows
    return found


def _features(rows: Any) -> Tensor:
    """Give the features of an Arrow table or batch, without copying those of a batch."""
    column = rows["feature"]
    flat = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).flatten()
    return torch.utils.dlpack.from_dlpack(flat).view(rows.num_rows, -1)
