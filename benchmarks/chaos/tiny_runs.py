"""The smallest trainings: their options and pictures, what they are at, and how far they are."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.children import Board, run_undisturbed
from intact_fast.cli import main
from intact_fast.config.command_line import parse_config
from intact_fast.data.synthetic import SyntheticSpec, write_synthetic
from intact_fast.reporting import presentation
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.loop import TrainingLoop
from intact_fast.training.run import Run

TINY = (
    "--preset cpu --device cpu --data.dataset folder --data.backend pillow --data.threads 0 --data.height 48 "
    "--data.width 32 --generator.widths 4 4 6 6 --generator.skip add --discriminator.widths 4 4 6 8 "
    "--discriminator.hidden 10 --association.hidden 12 10 --association.latent 8 --association.feature head "
    "--critic.arch osnet_x0_25 --critic.iterations 1 --critic.batch-size 4 --critic.pad 2 --training.batch-size 4 "
    "--training.iterations 1 --training.precision fp32 --training.log-every 1"
).split()
"""Options of the smallest training."""
OPTIONS = [
    *TINY,
    *"--critic.iterations 3 --training.iterations 5 --training.log-every 3 --training.checkpoint-every 2".split(),
    *"--data.val-fraction 0.4 --training.validate-every 3".split(),
]
"""Options of the smallest one that does everything, more than once."""
_DRAWN = SyntheticSpec(
    train_identities=6, test_identities=4, train_pictures_per_camera=2, test_pictures_per_camera=1, height=48, width=24
)


def draw_pictures(folder: Path) -> Path:
    """Draw the people of all tiny runs; their folder."""
    return write_synthetic(folder, _DRAWN)


def warm_up(folder: Path) -> Path:
    """Draw the people, and do here what trainings in children would do again at each start; the people's folder."""
    pictures = draw_pictures(folder)
    run_undisturbed(training(pictures, folder / "warm"), folder / "warm.log", folder)
    # what has read the options remembers them
    parse_config(OPTIONS, "benchmarks.chaos", "")
    return pictures


def run_command(*words: object) -> int:
    """Run a command of the package in a child; its status. Curves are left out: they show times, and take longest."""
    presentation.save_curves = lambda metrics, path: False  # type: ignore[assignment]
    return main([str(word) for word in words])


def training(pictures: Path, runs: Path, *options: str) -> Callable[[], int]:
    """Give a tiny training, to be run in a child."""
    return lambda: run_command("train", *OPTIONS, "--data.root", pictures, "--runs", runs, *options)


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


def resumption(run: Path) -> str:
    """Give what a tiny run says when it goes on from its last checkpoint; empty where it has none, or is trained."""
    for task, folder, iterations in (("INTACT", "checkpoints", 5), ("critic", "checkpoints/critic", 3)):
        done = CheckpointStore(run / folder, 1).last_iteration()
        if done is not None:
            return f"Resuming {task} at iteration {done}" if done < iterations else ""
    return ""


def figures_of(run: Path) -> list[dict[str, Any]]:
    """Read the figures of INTACT's iterations that a run's folder has so far."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return [record for record in map(json.loads, lines) if record["task"] == "INTACT"]


def iterations_done(run: Path) -> int:
    """The last iteration of INTACT whose figures a run's folder has; 0 before the first."""
    return max((int(record["iteration"]) for record in figures_of(run)), default=0)
