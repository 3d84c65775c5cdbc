"""VIPeR: 632 identities, one picture in each of two cameras (Gray, Brennan, Tao, PETS 2007)."""

from __future__ import annotations

from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Counts, Picture, find_layout
from intact_fast.data.picture_files import LeftOut, list_pictures
from intact_fast.errors import UserError

OFFICIAL = (Counts(("all",), 1_264, 632),)
_CAMERAS = {"cam_a": 1, "cam_b": 2}


def read_viper(root: Path) -> Catalogue:
    """Read ``VIPeR/cam_a`` and ``VIPeR/cam_b``; identities without a fixed split.

    Identities that one camera lacks are left out. Camera 1 (cam_a) is LR by default.

    Args:
        root: Folder that holds ``VIPeR`` (or ``viper/VIPeR``, or the two camera folders).

    Raises:
        UserError: The folders are missing, or a file name does not start with the identity.
    """
    folder = find_layout(root, ("viper/VIPeR", "VIPeR", "viper", "."), _CAMERAS, "VIPeR")
    pictures = []
    left_out = LeftOut()
    for name, camera in _CAMERAS.items():
        listing = list_pictures(folder / name)
        left_out += listing.left_out
        for path in listing.pictures:
            pid = path.name.split("_")[0]
            if not pid.isdecimal():
                raise UserError(f"{path}: not a VIPeR file name (expected like 000_45.bmp); remove or rename it")
            pictures.append(Picture(path.relative_to(root).as_posix(), int(pid), camera, "all"))
    seen = [{p.pid for p in pictures if p.camera == camera} for camera in _CAMERAS.values()]
    paired = set.intersection(*seen)
    kept = tuple(p for p in pictures if p.pid in paired)
    return Catalogue("viper", kept, default_lr_camera=1, official=OFFICIAL, left_out=left_out)
