"""`intact-fast prepare` and `evaluate` on what a tiny training leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from intact_fast.cli import main
from intact_fast.config.options import Config
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import Process
from intact_fast.training.run import Run


@pytest.fixture
def trained(tiny_config: Config, picture_folder: Callable[..., Path]) -> tuple[Config, Path]:
    picture_folder()
    config = replace(tiny_config, training=replace(tiny_config.training, iterations=1))
    Run(config, Process(0, 1, torch.device("cpu"), None)).execute()
    checkpoint = CheckpointStore(config.runs / config.name / "checkpoints", 1).latest()
    assert checkpoint is not None
    return config, checkpoint


def test_evaluate_repeats_the_runs_table(trained: tuple[Config, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, checkpoint = trained
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((config.runs / config.name / "evaluation.json").read_text())
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--queries", "lr", "sr"]) == 0
    table = capsys.readouterr().out
    assert "INTACT" in table
    assert "HR queries" not in table


def test_evaluate_reranks(trained: tuple[Config, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, checkpoint = trained
    found = []
    for options in ([], ["--evaluation.rerank"]):
        capsys.readouterr()
        assert main(["evaluate", "--checkpoint", str(checkpoint), "--json", *options]) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, reranked = found
    assert reranked["protocol"] == plain["protocol"] + ", re-ranked by k-reciprocal encoding"
    assert reranked["rows"]["INTACT"]["mAP"] != plain["rows"]["INTACT"]["mAP"]


def test_evaluate_critic_alone(trained: tuple[Config, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, checkpoint = trained
    critic = checkpoint.parent / "critic.pt"
    options = ["--arch", "osnet_x0_25", "--data.dataset", "folder", "--data.root", str(config.data.root)]
    options += ["--data.height", "48", "--data.width", "32", "--json"]
    capsys.readouterr()
    assert main(["evaluate", "--critic", str(critic), *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows.keys() == {"HR queries (upper bound)", "LR queries without SR"}
    stored = json.loads((config.runs / config.name / "evaluation.json").read_text())["rows"]
    assert rows["HR queries (upper bound)"]["mAP"] == pytest.approx(stored["HR queries (upper bound)"]["mAP"])


def test_evaluate_refuses_a_split_that_tests_on_training_pictures(
    trained: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, checkpoint = trained
    command = ["evaluate", "--checkpoint", str(checkpoint), "--data.split-seed", "5"]
    assert main(command) == 2
    assert "may test on its training pictures; give the run's own by --data.manifest" in capsys.readouterr().err


def test_evaluate_on_other_data(
    trained: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = trained
    other = tmp_path / "other"
    config.data.root.rename(other)
    command = [
        "evaluate",
        "--checkpoint",
        str(checkpoint),
        "--data.root",
        str(other),
        "--data.lr-camera",
        "2",
        "--json",
    ]
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 12


def test_prepared_split_is_what_a_run_uses(
    trained: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = trained
    out = tmp_path / "split.jsonl"
    command = ["prepare", "--out", str(out), "--data.dataset", "folder", "--data.root", str(config.data.root)]
    assert main([*command, "--data.val-fraction", str(config.data.val_fraction)]) == 0
    assert out.read_bytes() == (config.runs / config.name / "manifest.jsonl").read_bytes()
    assert "6 training identities" in capsys.readouterr().out
