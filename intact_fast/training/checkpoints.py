"""Checkpoints are written atomically; the last few and the best are kept. Loading one runs no code."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from intact_fast.errors import UserError
from intact_fast.files import UnreadableCheckpoint, read_checkpoint, write_atomically
from intact_fast.plain_values import read_plain

_NAME = re.compile(r"iteration_(\d+)\.pt$")


@dataclass(frozen=True)
class _Parts:
    """What a checkpoint of a training holds at least."""

    iteration: int
    position: tuple[int, int]
    best: float | None
    world_size: int
    ranks: list[dict[str, Any]]
    state: dict[str, Any]
    manifest_hash: str
    config: str


@dataclass(frozen=True)
class Latest:
    """The latest checkpoint that can be read.

    Attributes:
        path: Its file.
        checkpoint: What it holds.
        unreadable: Files of higher iterations that hold no checkpoint, the latest first.
    """

    path: Path
    checkpoint: dict[str, Any]
    unreadable: tuple[Path, ...]


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
        self.drop_old()
        return path

    def drop_old(self) -> None:
        """Drop what exceeds ``keep``; a process that was killed before it came to that has left one more."""
        for _, old in self._numbered()[: -max(self.keep, 1)]:
            old.unlink()

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

    def read_latest(self, task: str) -> Latest | None:
        """Read the checkpoint of the highest iteration that can be read; None where there is no file.

        Args:
            task: Name of the task whose checkpoints they are.

        Raises:
            UserError: None of the files can be read.
        """
        unreadable: list[Path] = []
        for _, path in reversed(self._numbered()):
            try:
                checkpoint = read_checkpoint(path, "--name: checkpoint") if _is_whole(path) else {}
            except UnreadableCheckpoint:
                checkpoint = {}
            if _is_of_training(checkpoint) and checkpoint.get("task", task) == task:
                return Latest(path, checkpoint, tuple(unreadable))
            unreadable.append(path)
        if not unreadable:
            return None
        raise UserError(
            f"{unreadable[0]}: not a readable checkpoint of {task}, and there is none before it; put a copy of it "
            f"back, or remove it to begin {task} anew"
        )

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = ((_NAME.match(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match[1]), path) for match, path in matches if match)


def _is_whole(path: Path) -> bool:
    """Whether each part of a file has the checksum that it was written with; PyTorch itself does not look."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        return False


def _is_of_training(checkpoint: dict[str, Any]) -> bool:
    names = [field.name for field in fields(_Parts)]
    try:
        parts = read_plain(_Parts, {name: checkpoint[name] for name in names})
    except (KeyError, ValueError):
        return False
    return parts.iteration >= 0 and min(parts.position) >= 0 and 0 < parts.world_size == len(parts.ranks)


def set_aside(path: Path) -> Path:
    """Give a file that cannot be read another name, so that it takes the place of no checkpoint; the new name.

    Raises:
        OSError: It cannot be renamed.
    """
    return path.rename(path.with_name(f"{path.name}.unreadable"))


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Save a dictionary of tensors and plain Python values atomically."""
    with write_atomically(path) as temporary:
        torch.save(state, temporary)
