"""CUHK03 (Li et al., CVPR 2014): 1,467 identities, each seen by one of five pairs of cameras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from intact_fast.config.options import CUHK03Boxes, CUHK03Protocol
from intact_fast.data.catalogue import Catalogue, Counts, Picture, Subset
from intact_fast.data.datasets.cuhk03_release import (
    MAT_NAME,
    extract_release,
    import_extra,
    read_testsets,
    record_path,
)
from intact_fast.data.datasets.mat_files import check_level5
from intact_fast.data.picture_files import list_pictures
from intact_fast.data.progress import Progress, no_progress
from intact_fast.errors import UserError

OFFICIAL: dict[tuple[CUHK03Protocol, CUHK03Boxes], tuple[Counts, ...]] = {
    ("classic", "detected"): (Counts(("train", "test"), 14_097, 1_467), Counts(("test",), None, 100)),
    ("classic", "labeled"): (Counts(("train", "test"), 14_096, 1_467), Counts(("test",), None, 100)),
    ("new", "detected"): (
        Counts(("train",), 7_365, 767),
        Counts(("query",), 1_400, 700),
        Counts(("gallery",), 5_332, 700),
    ),
    ("new", "labeled"): (
        Counts(("train",), 7_368, 767),
        Counts(("query",), 1_400, 700),
        Counts(("gallery",), 5_328, 700),
    ),
}
"""The new protocol's by github.com/zhunzhong07/person-re-ranking; both protocols have the same pictures."""
_FOLDERS = ("cuhk03", ".", "cuhk03/cuhk03_release", "cuhk03_release")
_NAME = re.compile(r"(\d)_(\d{3})_([12])_(\d{2})\.png$")
_PERSONS = 1000
"""More than any camera pair has seen."""
_TEST_IDENTITIES = 100


def read_cuhk03(
    root: Path,
    boxes: CUHK03Boxes = "detected",
    protocol: CUHK03Protocol = "classic",
    split_seed: int = 0,
    progress: Progress = no_progress,
) -> Catalogue:
    """Read the release's ``cuhk-03.mat``, or the pictures that were extracted from it.

    The pictures are extracted once into ``images_detected`` or ``images_labeled``, named as
    torchreid's: beside the file, or where torchreid has put some already. Cameras are the two views of
    a pair.

    The classic protocol tests on the 100 identities of one of the release's 20 test sets, number
    ``split_seed`` mod 20. View 1 makes the LR queries by default. Where pictures came without the
    release, 100 identities seen in both views are drawn by ``split_seed`` instead.

    The new protocol (Zhong et al., CVPR 2017) takes identities, queries and gallery from its authors'
    file. Every query is LR.

    Args:
        root: Folder that holds ``cuhk03_release/cuhk-03.mat``, torchreid's ``cuhk03``, or what is in them.
        boxes: Which bounding boxes.
        protocol: Which split.
        split_seed: Which test set.
        progress: Told how far an extraction is.

    Raises:
        UserError: The data, the protocol's file or a package to read them is missing, or a file is not
            what its name says.
    """
    folder = _obtain_pictures(root, boxes, progress)
    listing = list_pictures(folder)
    pictures = [_picture(root, path) for path in listing.pictures]
    if protocol == "new":
        pictures = _with_subsets(pictures, _new_split(root, folder, boxes), folder)
    else:
        test = _test_pids(pictures, folder, split_seed)
        pictures = [replace(p, subset="test" if p.pid in test else "train") for p in pictures]
    lr_camera = 1 if protocol == "classic" else None
    official = OFFICIAL[protocol, boxes]
    return Catalogue("cuhk03", tuple(pictures), lr_camera, official=official, left_out=listing.left_out)


def _obtain_pictures(root: Path, boxes: CUHK03Boxes, progress: Progress) -> Path:
    """Find the folder of pictures, and fill it from the release where that has not been done."""
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds CUHK03")
    name = f"images_{boxes}"
    pictures = _first(root, name)
    mat = _first(root, MAT_NAME)
    if pictures is None:
        if mat is None:
            places = ", ".join(str(root / folder) for folder in _FOLDERS)
            raise UserError(f"--data.root {root}: no CUHK03 here; looked for {MAT_NAME} and {name} in {places}")
        pictures = mat.parent / name
    if mat is not None and not (record_path(pictures).is_file() and pictures.is_dir()):
        extract_release(mat, pictures, boxes, progress)
    return pictures


def _first(root: Path, name: str) -> Path | None:
    return next((path for folder in _FOLDERS if (path := root / folder / name).exists()), None)


def _picture(root: Path, path: Path) -> Picture:
    match = _NAME.match(path.name)
    if match is None:
        raise UserError(f"{path}: not a CUHK03 file name (expected like 1_001_1_01.png); remove or rename it")
    pair, person, view = (int(match[i]) for i in (1, 2, 3))
    return Picture(path.relative_to(root).as_posix(), _pid(pair, person), view, "train")


def _pid(pair: int, person: int) -> int:
    return _PERSONS * pair + person


def _test_pids(pictures: Iterable[Picture], folder: Path, split_seed: int) -> set[int]:
    testsets = read_testsets(folder)
    if testsets:
        return {_pid(pair, person) for pair, person in testsets[split_seed % len(testsets)]}
    views: dict[int, set[int]] = {}
    for picture in pictures:
        views.setdefault(picture.pid, set()).add(picture.camera)
    usable = sorted(pid for pid, seen in views.items() if len(seen) > 1)
    rng = np.random.default_rng(split_seed)
    return set(rng.permutation(usable)[: min(_TEST_IDENTITIES, len(usable) // 2)].tolist())


def _new_split(root: Path, folder: Path, boxes: CUHK03Boxes) -> dict[str, Subset]:
    """Role of every file name in the new protocol."""
    name = f"cuhk03_new_protocol_config_{boxes}.mat"
    path = next((p for p in (folder.parent / name, _first(root, name)) if p and p.is_file()), None)
    if path is None:
        raise UserError(
            f"{folder.parent / name}: no such file; copy it there from github.com/zhunzhong07/person-re-ranking "
            "(evaluation/data/CUHK03), or use --data.cuhk03-protocol classic"
        )
    scipy_io = import_extra("scipy.io", path)
    try:
        check_level5(path)
        content = scipy_io.loadmat(path)
        names = [str(cell.item()) for cell in content["filelist"].ravel()]
        rows: dict[Subset, np.ndarray] = {
            subset: content[f"{subset}_idx"].ravel().astype(int) - 1 for subset in ("train", "query", "gallery")
        }
        return {names[row]: subset for subset, chosen in rows.items() for row in chosen.tolist()}
    # a foreign or broken file can fail anywhere inside scipy's reader
    except Exception as error:
        raise UserError(f"{path}: not the new protocol's file ({error}); download it again") from error


def _with_subsets(pictures: list[Picture], split: dict[str, Subset], folder: Path) -> list[Picture]:
    by_name = {Path(p.path).name: p for p in pictures}
    missing = sorted(split.keys() - by_name.keys())
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} pictures of the new protocol are missing, {missing[0]} first; remove "
            f"{record_path(folder).name} to extract them again, or complete the folder"
        )
    return [replace(p, subset=split[name]) for name, p in by_name.items() if name in split]
