"""Checkpoints are written atomically; the last few and the best are kept. Loading one runs no code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from intact_fast.files import write_atomically

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

    def last_iteration(self) -> int | None:
        """Iteration of that checkpoint, or None."""
        numbered = self._numbered()
        return numbered[-1][0] if numbered else None

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = ((_NAME.match(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match[1]), path) for match, path in matches if match)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Save a dictionary of tensors and plain Python values atomically."""
    with write_atomically(path) as temporary:
        torch.save(state, temporary)
