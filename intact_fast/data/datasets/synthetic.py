"""The embedded default: procedurally drawn pedestrians, written once and read as any other data set."""

from __future__ import annotations

from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.datasets.folder import read_folder
from intact_fast.data.synthetic import write_synthetic


def read_synthetic(root: Path) -> Catalogue:
    """Read the drawn pictures below ``root``, drawing them first where they are missing.

    Args:
        root: Folder below which ``synthetic-<hash>`` stands.
    """
    folder = write_synthetic(root)
    prefix = folder.relative_to(root).as_posix()
    pictures = tuple(Picture(f"{prefix}/{p.path}", p.pid, p.camera, p.subset) for p in read_folder(folder).pictures)
    return Catalogue("synthetic", pictures, default_lr_camera=0)
