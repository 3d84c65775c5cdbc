"""A run's folder: whether it is free, this run's, or gone."""

from __future__ import annotations

from pathlib import Path

from intact_fast.config.command_line import differences, read_config
from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.files import is_leftover
from intact_fast.training.checkpoints import CheckpointStore


def has_trained(folder: Path) -> bool:
    """Whether a run's folder holds anything that its settings bind."""
    return any((folder / "checkpoints").rglob("*.pt"))


def check_claim(folder: Path, config: Config) -> None:
    """Raise UserError unless the folder is free, or holds this very run."""
    path = folder / "config.yaml"
    if not path.is_file():
        if folder.exists() and not (folder.is_dir() and all(map(is_leftover, folder.iterdir()))):
            raise UserError(f"--name {config.name}: {folder} exists and is no run of ours; use another --name")
        return
    if not has_trained(folder):
        return
    changed = differences(read_config(path), config)
    if changed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise UserError(
            f"--name {config.name}: {folder} holds a run with other settings ({options}); give them as they were "
            "to resume it, or another --name"
        )


def last_checkpoint(folder: Path) -> Path:
    """Find the last checkpoint of a run that has trained.

    Raises:
        UserError: Somebody has removed the folder meanwhile.
    """
    checkpoint = CheckpointStore(folder / "checkpoints", 1).latest()
    if checkpoint is None or not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: its files have gone meanwhile; remove what is left, and run the same command again")
    return checkpoint
