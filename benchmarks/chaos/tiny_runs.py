"""The smallest trainings that still do everything, what they are at, and whether two of them ended alike."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.chaos.children import Board
from intact_fast.data.synthetic import SyntheticSpec, write_synthetic
from intact_fast.files import is_leftover, read_checkpoint
from intact_fast.reporting import presentation
from intact_fast.train import main
from intact_fast.training.loop import TrainingLoop
from intact_fast.training.run import Run

OPTIONS = (
    "--preset cpu --device cpu --data.dataset folder --data.backend pillow --data.threads 0 --data.height 48 "
    "--data.width 32 --data.val-fraction 0.4 --generator.widths 4 4 6 6 --generator.skip add "
    "--discriminator.widths 4 4 6 8 --discriminator.hidden 10 --association.hidden 12 10 --association.latent 8 "
    "--association.feature head --critic.arch osnet_x0_25 --critic.iterations 3 --critic.batch-size 4 --critic.pad 2 "
    "--training.iterations 5 --training.batch-size 4 --training.precision fp32 --training.log-every 3 "
    "--training.checkpoint-every 2 --training.validate-every 3"
).split()
_DRAWN = SyntheticSpec(
    train_identities=6, test_identities=4, train_pictures_per_camera=2, test_pictures_per_camera=1, height=48, width=24
)
_TIMES = ("img_per_s",)
_CURVES = "curves.png"
_OF_ITS_OWN = frozenset({"config.yaml", "metrics.jsonl", "notes.json", "report.md", "report.html"})
"""Files that name the folder of runs, or say how long something took."""


def draw_pictures(folder: Path) -> Path:
    """Draw the people of all tiny runs; their folder."""
    return write_synthetic(folder, _DRAWN)


def training(pictures: Path, runs: Path, *options: str) -> Callable[[], int]:
    """Give a training as a command of one start, which draws no curves: they cost a third of it, and show times."""

    def train() -> int:
        presentation.save_curves = lambda metrics, path: False  # type: ignore[assignment]
        return main([*OPTIONS, "--data.root", str(pictures), "--runs", str(runs), *options])

    return train


def tell_stages(board: Board) -> None:
    """Let this process tell on a board what its training is at."""

    def within(owner: type, name: str, stage_of: Callable[[Any], str]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(self: Any, *arguments: Any) -> Any:
            before = board.stage
            board.stage = stage_of(self)
            try:
                return original(self, *arguments)
            finally:
                board.stage = before

        setattr(owner, name, wrapped)

    within(TrainingLoop, "run", lambda loop: "critic" if loop._task.name == "critic" else "G")
    within(TrainingLoop, "_save", lambda loop: "checkpoint")
    within(TrainingLoop, "_save_best", lambda loop: "checkpoint")
    within(Run, "_validate", lambda run: "validation")
    within(Run, "_finish", lambda run: "evaluation")
    within(Run, "_present", lambda run: "report")


def differences(whole: Path, other: Path) -> list[str]:
    """Compare what two runs left, bit for bit; times apart.

    Args:
        whole: Folder of a run that nothing has disturbed.
        other: Folder of the run that is looked at.
    """
    names, others = files_of(whole), files_of(other)
    found = [f"{name}: missing" for name in sorted(names - others)]
    found += [f"{name}: too many" for name in sorted(others - names)]
    for name in sorted(names & others):
        if name.endswith(".pt"):
            states = (read_checkpoint(folder / name, "chaos") for folder in (whole, other))
            found += [f"{name}: {where}" for where in _unequal(*states)]
        elif Path(name).name == "metrics.jsonl":
            found += _unequal_metrics(whole / name, other / name, name)
        elif Path(name).name not in _OF_ITS_OWN and (whole / name).read_bytes() != (other / name).read_bytes():
            found.append(f"{name}: other bytes")
    return found


def files_of(folder: Path) -> set[str]:
    """Name the files below a folder; TensorBoard's are one for each start, locks stay, and curves show times."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != _CURVES)
    return {str(name) for name in names if "tensorboard" not in name.parts and not name.name.endswith(".lock")}


def leftovers(folder: Path) -> list[str]:
    """Name the halves of files below a folder."""
    return [str(path) for path in folder.rglob("*") if is_leftover(path) and not path.name.endswith(".lock")]


def _unequal(a: Any, b: Any, where: str = "") -> Iterator[str]:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield where
    elif isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            yield where
            return
        for key in a:
            # it names the folder of runs
            if key != "config":
                yield from _unequal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            yield where
            return
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(x, y, f"{where}/{number}")
    elif a != b:
        yield where


def _unequal_metrics(whole: Path, other: Path, name: str) -> list[str]:
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if key not in _TIMES}
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for path in (whole, other)
    ]
    if len(lines[0]) != len(lines[1]):
        return [f"{name}: {len(lines[1])} lines, not {len(lines[0])}"]
    return [f"{name}: line {i}" for i, (a, b) in enumerate(zip(*lines, strict=True), start=1) if a != b]
