"""`intact-fast evaluate` on what a tiny training leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from commands.command_cases import error_of
from intact_fast.cli import main
from intact_fast.config.options import Config
from intact_fast.training.checkpoints import CheckpointStore


@pytest.fixture
def checkpoint(tiny_run: Config) -> Path:
    latest = CheckpointStore(tiny_run.runs / tiny_run.name / "checkpoints", 1).latest()
    assert latest is not None
    return latest


@pytest.fixture
def moved_pictures(tiny_run: Config, tmp_path: Path) -> Iterator[Path]:
    """The run's pictures, which are elsewhere than it says for as long as a test takes."""
    moved = tiny_run.data.root.rename(tmp_path / "moved")
    yield moved
    moved.rename(tiny_run.data.root)


def test_evaluate_repeats_the_runs_table(
    tiny_run: Config, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert output.err.startswith("folder: training: "), "how the folder was understood"
    stored = json.loads((tiny_run.runs / tiny_run.name / "evaluation.json").read_text())
    # a report alone has them
    for name in ("thresholds", "open_set", "model_thresholds"):
        del stored[name]
    assert found == stored
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--queries", "lr", "sr"]) == 0
    table = capsys.readouterr().out
    assert "INTACT" in table
    assert "HR queries" not in table


def test_evaluate_reranks(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for options in ([], ["--evaluation.rerank"]):
        capsys.readouterr()
        assert main(["evaluate", "--checkpoint", str(checkpoint), "--json", *options]) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, reranked = found
    assert reranked["protocol"] == plain["protocol"] + ", re-ranked by k-reciprocal encoding"
    assert reranked["rows"]["INTACT"]["mAP"] != plain["rows"]["INTACT"]["mAP"]


def test_evaluate_critic_alone(tiny_run: Config, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    critic = checkpoint.parent / "critic.pt"
    options = ["--arch", "osnet_x0_25", "--data.dataset", "folder", "--data.root", str(tiny_run.data.root)]
    options += ["--data.height", "48", "--data.width", "32", "--json"]
    capsys.readouterr()
    assert main(["evaluate", "--critic", str(critic), *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows.keys() == {"HR queries (upper bound)", "LR queries without SR"}
    stored = json.loads((tiny_run.runs / tiny_run.name / "evaluation.json").read_text())["rows"]
    assert rows["HR queries (upper bound)"]["mAP"] == pytest.approx(stored["HR queries (upper bound)"]["mAP"])


def test_evaluate_refuses_a_split_that_tests_on_training_pictures(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--checkpoint", str(checkpoint), "--data.split-seed", "5"]
    assert main(command) == 2
    assert "may test on its training pictures; give the run's own by --data.manifest" in capsys.readouterr().err


def test_evaluate_on_other_data(checkpoint: Path, moved_pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "evaluate",
        "--checkpoint",
        str(checkpoint),
        "--data.root",
        str(moved_pictures),
        "--data.lr-camera",
        "2",
        "--json",
    ]
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 12


def test_evaluate_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--checkpoint FILE or --critic FILE" in error_of(
        capsys, "evaluate", "--data.dataset", "folder", "--data.root", tmp_path
    )
    assert "no such file" in error_of(capsys, "evaluate", "--checkpoint", tmp_path / "x.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "x.pt")
    assert "not a checkpoint of the alternating" in error_of(capsys, "evaluate", "--checkpoint", tmp_path / "x.pt")


def test_evaluate_takes_test_time_options(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command = ["evaluate", "--checkpoint", checkpoint, "--evaluation.test-time", "flip", "cosine"]
    assert main([str(word) for word in (*command, "--queries", "sr", "--json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["views"]) == ["sr", "sr+flip", "sr+cosine", "sr+flip+cosine"]
    assert found["rows"].keys() == set(found["views"].values())
    assert "add sr to --queries" in error_of(capsys, *command, "--queries", "lr")
    critic = ["evaluate", "--critic", checkpoint.parent / "critic.pt", "--evaluation.test-time", "flip"]
    assert "--checkpoint instead of --critic" in error_of(capsys, *critic)
