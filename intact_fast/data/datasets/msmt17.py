"""MSMT17 (Wei et al., CVPR 2018): 1,041 training and 3,060 test identities, fifteen cameras.

Its authors give it on request, for research. Version 2 blurs the faces and names its folders otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from intact_fast.data.catalogue import Catalogue, Counts, Picture, Subset
from intact_fast.data.picture_files import LeftOut, list_pictures
from intact_fast.errors import UserError

OFFICIAL = (
    # the lists of 30,248 training and 2,373 validation pictures, of the same people
    Counts(("train",), 32_621, 1_041),
    Counts(("query",), 11_659, 3_060),
    Counts(("gallery",), 82_161, 3_060),
)
_TEST_PIDS = 10_000
"""Added to the test people's numbers: the archive numbers both sides from 0."""
_FOLDERS = ("msmt17/MSMT17_V1", "MSMT17_V1", "msmt17/MSMT17_V2", "MSMT17_V2", "msmt17", "MSMT17", ".")
_PARTS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
"""Names of the two folders of pictures in version 1 and in version 2."""
_LISTS: tuple[tuple[str, Subset], ...] = (
    ("list_train.txt", "train"),
    ("list_val.txt", "train"),
    ("list_query.txt", "query"),
    ("list_gallery.txt", "gallery"),
)
_NAME = re.compile(r"\d{4}_\d+_(\d{2})_")
_LINE = re.compile(r"(\S.*\S)\s+(\d+)\s*")


class _Parts(NamedTuple):
    archive: Path
    train: Path
    test: Path


def read_msmt17(root: Path) -> Catalogue:
    """Read ``MSMT17_V1`` or ``MSMT17_V2``, or torchreid's ``msmt17/MSMT17_V1`` around it.

    The official split is kept. Its validation pictures show the training people and train as well: a run holds out
    people of its own. Test people get numbers from 10,000 on, as both sides count from 0. Every query is LR by default.

    Args:
        root: Folder that holds the archive's folder (or what is in it).

    Raises:
        UserError: The folders or a list are missing, a list is damaged, or it names a picture that is not there.
    """
    parts = _find(root)
    left_out = LeftOut()
    there: dict[Path, set[str]] = {}
    for folder in (parts.train, parts.test):
        listing = list_pictures(folder, recursive=True)
        left_out += listing.left_out
        there[folder] = {path.relative_to(folder).as_posix() for path in listing.pictures}
    pictures: dict[tuple[str, Subset], Picture] = {}
    for name, subset in _LISTS:
        folder = parts.train if subset == "train" else parts.test
        for picture in _listed(root, parts.archive / name, folder, there[folder], subset):
            pictures.setdefault((picture.path, subset), picture)
    return Catalogue("msmt17", tuple(pictures.values()), default_lr_camera=None, official=OFFICIAL, left_out=left_out)


def _find(root: Path) -> _Parts:
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds MSMT17_V1")
    for candidate in _FOLDERS:
        for train, test in _PARTS:
            parts = _Parts(root / candidate, root / candidate / train, root / candidate / test)
            if parts.train.is_dir() and parts.test.is_dir():
                _require_lists(parts.archive)
                return parts
    names = " or ".join(" and ".join(names) for names in _PARTS)
    places = ", ".join(str(root / candidate) for candidate in _FOLDERS)
    raise UserError(f"--data.root {root}: no MSMT17 here; looked for the folders {names} in {places}")


def _require_lists(archive: Path) -> None:
    for name, _ in _LISTS:
        if not (archive / name).is_file():
            raise UserError(f"{archive / name}: no such file; copy it from the archive, beside the folders of pictures")


def _listed(root: Path, path: Path, folder: Path, there: set[str], subset: Subset) -> Iterator[Picture]:
    """Give the pictures of one list: lines of a path below the folder and a person."""
    missing = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        name = _NAME.match(PurePosixPath(match[1]).name) if match else None
        if match is None or name is None:
            raise UserError(
                f"{path}, line {number}: {line!r:.80} is no line of MSMT17 (expected like "
                "0000/0000_000_01_0303morning_0008_0.jpg 0); copy the list from the archive again"
            )
        if match[1] not in there:
            missing.append(match[1])
            continue
        pid = int(match[2]) + (0 if subset == "train" else _TEST_PIDS)
        yield Picture((folder / match[1]).relative_to(root).as_posix(), pid, int(name[1]), subset)
    if missing:
        raise UserError(
            f"{folder / missing[0]}: no such picture, and {len(missing) - 1:,} more of {path} are missing; unpack the "
            "archive again"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the list from the archive again") from error
