"""Rows of a gallery from pictures: features, measured columns, and those that a source gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from intact_fast.data.degradation import read_image
from intact_fast.files import stamp
from intact_fast.serving.gallery.columns import ColumnSource, Values, make_rows
from intact_fast.serving.picture_reading import Unreadable, read_readable
from intact_fast.serving.sr_reid import SRReID


@dataclass(frozen=True)
class Crop:
    """A decoded picture with what its file says."""

    image: Image.Image
    values: Values


def read_crop(path: Path) -> Crop:
    """Decode a picture and read its measured columns.

    Raises:
        UserError: It cannot be decoded.
    """
    size, time = stamp(path)
    image = read_image(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    measured = {"width": image.width, "height": image.height, "hash": digest}
    return Crop(image, {**measured, "file_bytes": size, "file_time": time})


def compute_rows(
    model: SRReID,
    folder: Path,
    paths: Sequence[Path],
    source: ColumnSource | None,
    unreadable: Unreadable,
    advance: Callable[[int], None],
    at_once: int,
) -> Iterator[Any]:
    """Compute the rows of pictures, some thousands at a time.

    Args:
        model: Computes features.
        folder: Names are relative to it.
        paths: Pictures below it.
        source: Gives further columns; None leaves them empty.
        unreadable: Takes pictures that are left out.
        advance: Told how many further pictures are done, readable or not.
        at_once: Rows of a table before the next one is begun.

    Yields:
        Arrow tables as `make_rows` makes them, none of them empty.
    """
    names: list[str] = []
    features: list[Tensor] = []
    values: list[Values] = []
    read = 0
    for good, crops in read_readable(paths, read_crop, model.batch_size, model.threads, unreadable):
        if crops:
            features.append(model([crop.image for crop in crops], normalize=True).cpu())
            for path, crop in zip(good, crops, strict=True):
                names.append(str(path.relative_to(folder)))
                values.append({**(source.values_of(names[-1]) if source else {}), **crop.values})
        batch = min(model.batch_size, len(paths) - read)
        read += batch
        if names and (len(names) >= at_once or read == len(paths)):
            yield make_rows(names, torch.cat(features), values)
            names, features, values = [], [], []
        advance(batch)
