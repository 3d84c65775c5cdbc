"""Features that C alone gives, kept in a table's folder for rows of other processes and of later ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import PIL
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from intact_fast.data.manifest import Entry
from intact_fast.errors import UserError, warn
from intact_fast.evaluation.evaluator import SharedFeatures
from intact_fast.files import one_at_a_time, stamp, write_atomically
from intact_fast.json_text import to_json
from intact_fast.training.distributed.process import Process

_GALLERY, _HR = "gallery", "hr"
_OURS = "1"
"""To be raised with every change of what C gives for a picture: how it is read, resized, normalised or computed."""


@dataclass(frozen=True)
class Origin:
    """Everything that features of C depend on.

    Attributes:
        critic: Digest of its parameters and buffers.
        manifest: Hash of the split.
        pictures: Digest of the sizes and times of the files.
        size: (height, width) that they are brought to.
        interpolation: By which filter.
        enlarge: How many times C enlarges them.
        batch_size: Pictures at a time, which rounding depends on.
        device: Kind of the device.
        versions: Of what reads pictures and computes.
        left_out: Pictures that are left out because they cannot be read.
    """

    critic: str
    manifest: str
    pictures: str
    size: tuple[int, int]
    interpolation: str
    enlarge: int
    batch_size: int
    device: str
    versions: tuple[str, ...] = (_OURS, torch.__version__, PIL.__version__)
    left_out: tuple[str, ...] = ()


def digest_of_files(root: Path, entries: Sequence[Entry]) -> str:
    """Digest of the sizes and times of pictures, as hexadecimal digits; one that is missing changes it."""
    digest = hashlib.sha256(os.fsencode(root.resolve()))
    for entry in entries:
        try:
            described = str(stamp(root / entry.path))
        except OSError:
            described = "missing"
        digest.update(described.encode())
    return digest.hexdigest()


class KeptFeatures:
    """A folder of such features, a file for each origin. It may be removed at any time.

    Args:
        folder: The table's.
        process: This process among its group, which call the same methods.
        concurrent: Other processes may compute the same features at the same time: all but one wait for it.
    """

    def __init__(self, folder: Path, process: Process, concurrent: bool) -> None:
        self._folder = folder / "features"
        self._process = process
        self._concurrent = concurrent

    def obtain(self, origin: Origin, compute: Callable[[], SharedFeatures]) -> SharedFeatures:
        """Take features from their file; where there is none, or none that can be read, compute them and write it.

        Args:
            origin: What they depend on.
            compute: Called on every process.

        Raises:
            UserError: As ``compute`` does.
        """
        text = to_json(asdict(origin))
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
        with ExitStack() as stack:
            features = self._read(path)
            if features is None and self._concurrent:
                waiting = "Another process computes the gallery's features; waiting for it."
                stack.enter_context(one_at_a_time(path, lambda: print(waiting, flush=True)))
                features = self._read(path)
            if features is None:
                features = compute()
                self._write(path, features, text)
        return features

    def _read(self, path: Path) -> SharedFeatures | None:
        return self._process.on_main(lambda: _read(path) if path.is_file() else None)

    def _write(self, path: Path, features: SharedFeatures, origin: str) -> None:
        tensors = {_GALLERY: features.gallery_features}
        if "hr" in features.query_features:
            tensors[_HR] = features.query_features["hr"]

        def write() -> None:
            try:
                with write_atomically(path) as temporary:
                    temporary.write_bytes(save(tensors, {"origin": origin}))
            except UserError as error:
                warn(f"{error}; later rows compute these features again")

        self._process.on_main(write)


def _read(path: Path) -> SharedFeatures | None:
    try:
        tensors = load(path.read_bytes())
        return SharedFeatures(tensors.pop(_GALLERY), {"hr": tensors[_HR]} if _HR in tensors else {})
    except (SafetensorError, OSError, KeyError) as error:
        warn(f"{path}: not readable ({error}); computed again")
        return None
