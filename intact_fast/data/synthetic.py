"""The `synthetic` data set: drawn pedestrians, two cameras, written once as JPEG files."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from intact_fast.data.pedestrian import Identity, draw_identity, draw_pedestrian
from intact_fast.errors import UserError, cannot_write
from intact_fast.files import picture_bytes
from intact_fast.json_text import to_json
from intact_fast.unfinished import own_suffix, sweep_once

DRAWING_VERSION = 1
CAMERAS = (0, 1)
JPEG_QUALITY = 92


@dataclass(frozen=True)
class SyntheticSpec:
    """Everything that the files of the data set depend on."""

    train_identities: int = 200
    """Identities of the training split; their pids start at 1."""
    test_identities: int = 300
    """Identities of the test split; their pids follow those of the training split."""
    train_pictures_per_camera: int = 3
    """Pictures of each training identity in each camera."""
    test_pictures_per_camera: int = 2
    """Pictures of each test identity in each camera."""
    height: int = 128
    """Height of the pictures in pixels."""
    width: int = 64
    """Width of the pictures in pixels."""
    seed: int = 0
    """Seed of the identities and of every picture."""
    version: int = DRAWING_VERSION
    """Version of the drawing; another one is another folder."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = {"height": 16, "width": 8, "seed": 0}.get(name, 1)
            if value < least:
                raise UserError(f"synthetic.{name} is {value}: give at least {least}")

    @property
    def folder_name(self) -> str:
        """`synthetic-` and a short hash of the fields."""
        text = to_json(asdict(self), sort_keys=True)
        return f"synthetic-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def write_synthetic(root: Path, spec: SyntheticSpec | None = None) -> Path:
    """Write the data set below `root`, unless it is there already.

    Files are `<folder>/{train,test}/<pid:04d>_cam<camera>_<number:02d>.jpg` with cameras 0 and 1. The folder
    appears under its final name only when it is complete, so that an interrupted or a concurrent call leaves
    nothing half-written behind that name.

    Args:
        root: Folder that the data set's own folder is put into; made if it is missing.
        spec: What to draw; the default specification if left out.

    Returns:
        The data set's folder, named after a hash of `spec`.

    Raises:
        UserError: `root` cannot be written to.
    """
    spec = spec or SyntheticSpec()
    root = Path(root)
    folder = root / spec.folder_name
    if folder.is_dir():
        return folder
    unfinished = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(own_suffix(), f".{spec.folder_name}-", root))
        sweep_once(root, unfinished.stat().st_mtime)
        _write_pictures(unfinished, spec)
        unfinished.chmod(0o755)
        _publish(unfinished, folder)
    except OSError as error:
        raise cannot_write(folder, error, "--data.root") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def identity_of(spec: SyntheticSpec, pid: int) -> Identity:
    """Draw the person of a pid: a function of (seed, pid) alone."""
    # A seed sequence ignores trailing zeros: the third value, at least 1 for pictures, keeps the two apart.
    return draw_identity(np.random.default_rng([spec.seed, pid, 0]))


def draw_picture(spec: SyntheticSpec, pid: int, camera: int, number: int) -> Image.Image:
    """Draw one picture, whatever else has been drawn.

    Args:
        spec: size, seed and version.
        pid: identity.
        camera: 0 or 1.
        number: which of the identity's pictures in that camera, from 0.

    Returns:
        The RGB picture, a function of (seed, pid, camera, number) and the size alone.
    """
    rng = np.random.default_rng([spec.seed, pid, 1 + camera, number])
    return draw_pedestrian(identity_of(spec, pid), camera, rng, spec.height, spec.width)


def _write_pictures(folder: Path, spec: SyntheticSpec) -> None:
    train_end = 1 + spec.train_identities
    splits = {
        "train": (range(1, train_end), spec.train_pictures_per_camera),
        "test": (range(train_end, train_end + spec.test_identities), spec.test_pictures_per_camera),
    }
    for split, (pids, pictures) in splits.items():
        (folder / split).mkdir()
        for pid in pids:
            for camera in CAMERAS:
                for number in range(pictures):
                    path = folder / split / f"{pid:04d}_cam{camera}_{number:02d}.jpg"
                    picture = draw_picture(spec, pid, camera, number)
                    path.write_bytes(picture_bytes(picture, "JPEG", quality=JPEG_QUALITY))


def _publish(unfinished: Path, folder: Path) -> None:
    """Give the finished folder its name; a concurrent writer's equal folder is kept instead."""
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
