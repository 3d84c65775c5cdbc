"""CUHK03's release: pictures and test sets inside one MATLAB file, extracted once to files."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from intact_fast.config.options import CUHK03Boxes
from intact_fast.data.datasets.mat_files import read_dataset
from intact_fast.data.progress import Progress
from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain

MAT_NAME = "cuhk-03.mat"
TestSet = list[tuple[int, int]]
"""Camera pair and number within the pair, both from 1, of every test identity."""
_PICTURES_PER_VIEW = 5
_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, OSError)
"""What h5py raises where a file is damaged or another one."""


@dataclass(frozen=True)
class _Record:
    """What is written beside extracted pictures."""

    testsets: list[TestSet]
    pictures: int = 0


def import_extra(module: str, path: Path) -> Any:
    """Import what the extra ``cuhk03`` brings.

    Args:
        module: Name of the module.
        path: File that needs it, for the error.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"{path}: reading it needs {package}; run pip install 'intact_fast[cuhk03]'") from error


def picture_name(pair: int, person: int, number: int) -> str:
    """Name a picture as torchreid does: camera pair, person, view (1 or 2), picture (1 to 10), all from 1."""
    view = 1 if number <= _PICTURES_PER_VIEW else 2
    return f"{pair:01d}_{person:03d}_{view:01d}_{number:02d}.png"


def record_path(pictures: Path) -> Path:
    """File beside a folder of extracted pictures that says that it is complete."""
    return pictures.with_suffix(".json")


def extract_release(mat: Path, pictures: Path, boxes: CUHK03Boxes, progress: Progress) -> None:
    """Write the pictures of the release into a folder, and beside it, as the last thing, the test sets.

    A file that is there already is kept as it is. So an interrupted extraction goes on where it was, and
    files of torchreid's are used.

    Args:
        mat: ``cuhk-03.mat``. Its cells ``detected`` and ``labeled`` hold five camera pairs, each with M×10 cells
            of H×W×3 uint8 pictures (empty where a person has fewer). ``testsets`` holds 20 lists of camera pair
            and person.
        pictures: Folder to write into.
        boxes: Which of the two cells.
        progress: Told how many cells are done.

    Raises:
        UserError: The file is not that release, h5py is missing, or the folder cannot be written.
    """
    with _opened(mat) as release:
        try:
            # MATLAB stores columns first, so that every array is transposed here
            pairs = [read_dataset(release, release[cell]) for cell in read_dataset(release, release[boxes])[0]]
            if any(cells.ndim != 2 or cells.dtype != object for cells in pairs):
                raise ValueError("its pairs of cameras are no cells")
            listed = (read_dataset(release, release[cell]) for cell in read_dataset(release, release["testsets"])[0])
            testsets = read_plain(list[TestSet], [cells.T.astype(int).tolist() for cells in listed])
        except _WRONG as error:
            raise UserError(f"{mat}: not the release's {MAT_NAME} ({error}); download it again") from error
        try:
            count = _write_pictures(release, pairs, pictures, f"CUHK03, {boxes}", progress, mat)
            with write_atomically(record_path(pictures)) as temporary:
                temporary.write_text(to_json({"pictures": count, "testsets": testsets}), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{mat}: its pictures cannot be extracted to {pictures} ({error}); make room and the folder writable, "
                "or download the file again"
            ) from error


def _write_pictures(
    release: Any, pairs: list[np.ndarray], pictures: Path, name: str, progress: Progress, mat: Path
) -> int:
    count = 0
    with progress(name, sum(cells.size for cells in pairs)) as advance:
        for pair, cells in enumerate(pairs, start=1):
            for person, row in enumerate(cells.T, start=1):
                for number, cell in enumerate(row, start=1):
                    advance(1)
                    path = pictures / picture_name(pair, person, number)
                    if path.exists():
                        count += 1
                        continue
                    picture = _picture(release, cell, mat)
                    if picture is not None:
                        count += 1
                        with write_atomically(path) as temporary:
                            picture.save(temporary, "PNG")
    return count


def _picture(release: Any, cell: Any, mat: Path) -> Image.Image | None:
    """Read one cell; None where it is empty."""
    try:
        found = release[cell]
        if found.ndim < 3:
            return None
        pixels = read_dataset(release, found)
        if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"a picture is {pixels.dtype} of the shape {pixels.shape}")
        return Image.fromarray(np.ascontiguousarray(pixels.T))
    except _WRONG as error:
        raise UserError(f"{mat}: not the release's {MAT_NAME} ({error}); download it again") from error


@contextmanager
def _opened(mat: Path) -> Iterator[Any]:
    h5py = import_extra("h5py", mat)
    try:
        release = h5py.File(mat, "r")
    except OSError as error:
        raise UserError(f"{mat}: not the release's {MAT_NAME}, or damaged; download it again") from error
    with release:
        yield release


def read_testsets(pictures: Path) -> list[TestSet] | None:
    """Test sets beside a folder of pictures; None where it was not extracted here.

    Raises:
        UserError: Their file is broken.
    """
    path = record_path(pictures)
    if not path.is_file():
        return None
    try:
        return read_plain(_Record, from_json(path.read_text(encoding="utf-8"))).testsets
    except ValueError as error:
        raise UserError(f"{path}: not the record of an extraction; remove it to extract again") from error
