"""The folders that Market-1501 introduced: an official split, with identity and camera in the file names."""

from __future__ import annotations

import re
from pathlib import Path

from intact_fast.data.catalogue import Picture, Subset
from intact_fast.data.picture_files import LeftOut, list_pictures
from intact_fast.errors import UserError

FOLDERS: dict[str, Subset] = {
    "bounding_box_train": "train",
    "query": "query",
    "bounding_box_test": "gallery",
}


def read_fixed_split(
    root: Path, folder: Path, name: re.Pattern[str], dataset: str, example: str
) -> tuple[list[Picture], LeftOut]:
    """List the pictures of the three folders, and what stands beside them.

    Args:
        root: Folder that paths are relative to.
        folder: Holds the three folders.
        name: Matches the beginning of a file name; its groups are the identity and the camera.
        dataset: Name of the data set, for errors.
        example: An official file name, for errors.

    Raises:
        UserError: A file name is not of the official form.
    """
    pictures = []
    left_out = LeftOut()
    for part, subset in FOLDERS.items():
        listing = list_pictures(folder / part)
        left_out += listing.left_out
        for path in listing.pictures:
            match = name.match(path.name)
            if match is None:
                raise UserError(f"{path}: not a {dataset} file name (expected like {example}); remove or rename it")
            pictures.append(Picture(path.relative_to(root).as_posix(), int(match[1]), int(match[2]), subset))
    return pictures, left_out
