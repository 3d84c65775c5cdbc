"""A run's folder: whose it is, and that it is still there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run

SINGLE_PROCESS = Process(0, 1, torch.device("cpu"), None)


@pytest.fixture
def config(tiny_config: Config, picture_folder: Callable[..., Path]) -> Config:
    picture_folder()
    return tiny_config


def test_a_mistyped_first_command_does_not_claim_the_name(config: Config) -> None:
    wrong = replace(config, data=replace(config.data, lr_camera="9"))
    with pytest.raises(UserError, match=r"--data\.lr-camera 9"):
        Run(wrong, SINGLE_PROCESS).execute()
    right = replace(config, training=replace(config.training, iterations=1))
    assert Run(right, SINGLE_PROCESS).execute() is not None


def test_a_foreign_folder_is_left_alone(config: Config) -> None:
    folder = config.runs / config.name
    folder.mkdir(parents=True)
    (folder / "report.md").write_text("mine")
    with pytest.raises(UserError, match="exists and is no run of ours; use another --name"):
        Run(config, SINGLE_PROCESS).execute()
    assert [p.name for p in folder.iterdir()] == ["report.md"]
    assert (folder / "report.md").read_text() == "mine"


def test_a_folder_that_vanishes_is_named_before_the_evaluation(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last checkpoint is written into a new folder, which nobody would know for a run's."""
    original = Run._train_intact

    def then_vanish(self: Run, *arguments: Any) -> IntactTask:
        task = original(self, *arguments)
        (self.folder / "config.yaml").unlink()
        return task

    monkeypatch.setattr(Run, "_train_intact", then_vanish)
    with pytest.raises(UserError, match="its files have gone meanwhile; remove what is left, and run the same"):
        Run(config, SINGLE_PROCESS).execute()
    assert not (config.runs / config.name / "report.md").exists()
