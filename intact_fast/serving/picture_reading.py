"""Pictures of a folder or file, listed and decoded a batch at a time; what cannot be read is noted and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image

from intact_fast.data import picture_files
from intact_fast.data.degradation import read_image
from intact_fast.data.picture_files import LeftOut, Listing
from intact_fast.data.read_ahead import read_ahead
from intact_fast.errors import UserError

PictureT = TypeVar("PictureT")


def list_pictures(source: Path) -> Listing:
    """Find the pictures at a path: a file itself, or every file below a folder that is named as a picture.

    Hidden files, and what other programs put beside pictures, are left out and counted.

    Raises:
        UserError: There is nothing, or no picture.
    """
    if source.is_file():
        return Listing([source], LeftOut())
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    listing = picture_files.list_pictures(source, recursive=True)
    if not listing.pictures:
        raise UserError(f"{source}: holds no picture ({listing.left_out.describe() or 'it is empty'})")
    return listing


@dataclass
class Unreadable:
    """Pictures that could not be decoded, with the reason of each."""

    reasons: dict[Path, str] = field(default_factory=dict)


def read_in_batches(
    paths: Sequence[Path], batch_size: int, threads: int, unreadable: Unreadable
) -> Iterator[tuple[list[Path], list[Image.Image]]]:
    """Decode pictures a batch at a time, in order, noting those that cannot be and going on without them."""
    return read_readable(paths, read_image, batch_size, threads, unreadable)


def read_readable(
    paths: Sequence[Path], read: Callable[[Path], PictureT], batch_size: int, threads: int, unreadable: Unreadable
) -> Iterator[tuple[list[Path], list[PictureT]]]:
    """Do as `read_in_batches` with another way to read a picture, which raises UserError where it cannot."""

    def read_or_tell(path: Path) -> PictureT | UserError:
        try:
            return read(path)
        except UserError as error:
            return error

    for chunk, images in read_ahead(paths, read_or_tell, batch_size, threads):
        good = []
        for path, image in zip(chunk, images, strict=True):
            if isinstance(image, UserError):
                unreadable.reasons[path] = str(image)
            else:
                good.append((path, image))
        yield [path for path, _ in good], [image for _, image in good]
