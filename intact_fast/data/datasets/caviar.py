"""CAVIAR4REID (Cheng et al., BMVC 2011): two cameras of a shopping mall, one of them further away."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

from intact_fast.data.catalogue import Catalogue, Counts, Picture
from intact_fast.data.decoding import picture_size
from intact_fast.data.picture_files import list_pictures
from intact_fast.errors import UserError

OFFICIAL = (Counts(("all",), 1_000, 50),)
"""Of 1,220 pictures of 72 identities; 22 identities were seen by one camera alone."""
_PER_CAMERA = 10
_NAME = re.compile(r"(\d{4})(\d{3})\.\w+$")
_FOLDERS = ("caviar/CAVIAR4REID", "CAVIAR4REID", "caviar", "CAVIAR4REID/CAVIARa", "CAVIARa", ".")


def read_caviar(root: Path) -> Catalogue:
    """Read the pictures ``PPPPNNN.jpg`` (identity P, picture N) of one flat folder.

    The names hold no camera. Pictures 001 to 010 of an identity are one camera's, 011 to 020 the other's
    (as github.com/ashmentlzw/VPFA reads them). The camera whose pictures are smaller in the mean is
    natively LR and makes the queries. Identities that one camera alone has seen are left out. The others
    are halved at random (INTACT, section 4.1).

    Args:
        root: Folder that holds ``CAVIAR4REID`` (or ``caviar/CAVIAR4REID``, ``CAVIARa``, or the pictures).

    Raises:
        UserError: The folder is missing, a name is not of the official form, a picture is unreadable,
            or no identity was seen by two cameras.
    """
    folder = _find_folder(root)
    listing = list_pictures(folder)
    pictures = [_picture(root, path) for path in listing.pictures]
    seen = [{p.pid for p in pictures if p.camera == camera} for camera in (1, 2)]
    paired = set.intersection(*seen)
    if not paired:
        raise UserError(
            f"{folder}: no identity has pictures both up to and beyond number {_PER_CAMERA:03d}, so none was seen "
            "by two cameras; unpack the whole archive again"
        )
    kept = tuple(p for p in pictures if p.pid in paired)
    areas = {camera: fmean(_area(root / p.path) for p in kept if p.camera == camera) for camera in (1, 2)}
    lr_camera = min(areas, key=lambda camera: areas[camera])
    return Catalogue(
        "caviar",
        kept,
        default_lr_camera=lr_camera,
        natively_lr=True,
        official=OFFICIAL,
        left_out=listing.left_out,
    )


def _find_folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds CAVIAR4REID")
    for candidate in _FOLDERS:
        folder = root / candidate
        if folder.is_dir() and list_pictures(folder).pictures:
            return folder
    places = ", ".join(str(root / candidate) for candidate in _FOLDERS)
    raise UserError(f"--data.root {root}: no CAVIAR4REID here; looked for pictures like 0001001.jpg in {places}")


def _picture(root: Path, path: Path) -> Picture:
    match = _NAME.match(path.name)
    if match is None or not 1 <= int(match[2]) <= 2 * _PER_CAMERA:
        raise UserError(
            f"{path}: not a CAVIAR4REID file name (expected like 0001001.jpg, up to 020); remove or rename it"
        )
    camera = 1 if int(match[2]) <= _PER_CAMERA else 2
    return Picture(path.relative_to(root).as_posix(), int(match[1]), camera, "all")


def _area(path: Path) -> int:
    width, height = picture_size(path)
    return width * height
