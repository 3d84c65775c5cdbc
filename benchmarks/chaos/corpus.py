"""The small whole files that campaigns damage: pictures of people, a model file, C, and a tiny run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.chaos.cases import Case, outcomes_of
from benchmarks.chaos.tiny_runs import TINY, run_command
from intact_fast import SRReID
from intact_fast.cli import COMMANDS
from intact_fast.models import Generator, build_osnet
from intact_fast.training.checkpoints import write_checkpoint
from intact_fast.training.critic import critic_checkpoint

PEOPLE, CAMERAS = 8, 2
SIZE = (48, 32)
SERVED = ("--device", "cpu", "--engine", "torch", "--threads", "1")
"""Options of commands that serve a model."""


@dataclass(frozen=True)
class Corpus:
    """Where the files are.

    Attributes:
        pictures: A folder of 16 pictures, two of each person.
        model: A model file of G and C.
        critic: C alone.
        run: Folder of a finished run.
        index: Features of the pictures, by the model.
    """

    pictures: Path
    model: Path
    critic: Path
    run: Path
    index: Path

    @property
    def checkpoint(self) -> Path:
        """The run's last checkpoint."""
        return next((self.run / "checkpoints").glob("iteration_*.pt"))


def make_corpus(folder: Path) -> Corpus:
    """Write everything; commands run in a process of their own, so that this one stays fit to fork."""
    for name in COMMANDS:
        importlib.import_module("intact_fast.train" if name == "train" else f"intact_fast.commands.{name}")
    torch.manual_seed(0)
    names = ("pictures", "model.safetensors", "critic.pt", "runs/tiny", "index.lance")
    corpus = Corpus(*(folder / name for name in names))
    write_pictures(corpus.pictures)
    critic, generator = build_osnet("osnet_x0_25", 5), Generator((4, 4, 4, 4))
    SRReID(critic, generator, SIZE, lr_height=40).save_pretrained(corpus.model)
    write_checkpoint(critic_checkpoint(critic, "osnet_x0_25"), corpus.critic)
    train = ["train", *TINY, "--data.root", corpus.pictures, "--runs", corpus.run.parent, "--name", "tiny"]
    picture, served = next(corpus.pictures.iterdir()), ("--model", corpus.model, *SERVED)
    search = ["search", "--query", picture, "--gallery", corpus.pictures, *served, "--index", corpus.index]
    for outcome in outcomes_of([Case(str(words[0]), partial(run_command, *words)) for words in (train, search)]):
        if outcome.status != 0:
            raise RuntimeError(f"the whole files cannot be made: {outcome.fault() or outcome.said}")
    return corpus


def write_pictures(folder: Path, seed: int = 0) -> None:
    """Draw noise of as many colours as there are people."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for pid in range(1, PEOPLE + 1):
        for camera in range(1, CAMERAS + 1):
            pixels = rng.integers(0, 256, (48, 24, 3), dtype=np.uint8) // 2 + np.uint8(12 * pid)
            Image.fromarray(pixels).save(folder / f"{pid:04d}_cam{camera}_0.png")
