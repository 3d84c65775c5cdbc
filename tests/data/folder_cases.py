"""Folders of one's own, as empty files: their readers decode nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from intact_fast.data.catalogue import Catalogue, Subset
from intact_fast.data.datasets import read_folder
from intact_fast.errors import UserError


def touch(root: Path, names: Iterable[str]) -> Path:
    """Make empty files below a folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def people(folder: str, pids: Iterable[int], cameras: Iterable[int] = (1, 2)) -> list[str]:
    """Name a picture of each person and camera."""
    cameras = tuple(cameras)
    return [f"{folder}/{pid:04d}_cam{camera}_x.jpg".lstrip("/") for pid in pids for camera in cameras]


def roles(catalogue: Catalogue) -> dict[str, Subset]:
    return {picture.path: picture.subset for picture in catalogue.pictures}


def pids(catalogue: Catalogue) -> dict[str, int]:
    return {picture.path: picture.pid for picture in catalogue.pictures}


def counted(catalogue: Catalogue) -> Counter[tuple[int, int, str]]:
    return Counter((picture.pid, picture.camera, picture.subset) for picture in catalogue.pictures)


def refusal(root: Path, name_pattern: str | None = None) -> str:
    """Read a folder that is refused, and give the one line that says why."""
    with pytest.raises(UserError) as caught:
        read_folder(root, name_pattern)
    (line,) = str(caught.value).splitlines()
    return line
