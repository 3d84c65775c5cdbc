"""Checkpoints: written atomically, the last few and the best kept, loaded without running code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from intact_fast.errors import UserError
from intact_fast.files import write_atomically

_SCALAR = np.float32(0).__reduce__()[0]
_NUMPY_NUMBERS = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8")),
]
"""What torchreid's checkpoints hold besides tensors: their Rank-1 is a numpy number."""

_NAME = re.compile(r"iteration_(\d+)\.pt$")


class CheckpointStore:
    """The checkpoints of one training.

    Args:
        folder: Where they stand.
        keep: How many of the latest to keep; ``best.pt`` stays besides them.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, state: dict[str, Any], iteration: int) -> Path:
        """Write the state of ``iteration`` and drop what exceeds ``keep``."""
        path = self.folder / f"iteration_{iteration:08d}.pt"
        write_checkpoint(state, path)
        for _, old in self._numbered()[: -max(self.keep, 1)]:
            old.unlink()
        return path

    def save_best(self, state: dict[str, Any]) -> Path:
        """Write the state as the best so far."""
        path = self.folder / "best.pt"
        write_checkpoint(state, path)
        return path

    def latest(self) -> Path | None:
        """The checkpoint of the highest iteration, or None."""
        numbered = self._numbered()
        return numbered[-1][1] if numbered else None

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = ((_NAME.match(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match[1]), path) for match, path in matches if match)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Save a dictionary of tensors and plain Python values atomically."""
    with write_atomically(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path, option: str) -> dict[str, Any]:
    """Load a dictionary onto the CPU; pickled code is never run.

    Args:
        path: The file.
        option: Name of the option that the user gave it by, for the error.

    Raises:
        UserError: The file is missing, broken, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file")
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            state = torch.load(path, map_location="cpu", weights_only=True)
    # a broken or foreign file can fail anywhere inside the unpickler, with any exception
    except Exception as error:
        raise UserError(
            f"{option} {path}: not a readable checkpoint (broken, or more than tensors and plain values); "
            "give another file"
        ) from error
    if not isinstance(state, dict):
        raise UserError(
            f"{option} {path}: holds a {type(state).__name__}, not a checkpoint; give another file"
        )
    return state
