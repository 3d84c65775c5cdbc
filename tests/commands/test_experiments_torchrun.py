"""``intact-fast experiments`` under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.tiny_table import TINY
from intact_fast.cli import main


def test_two_processes_share_a_table(
    picture_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under torchrun; afterwards one process finds every row finished."""
    options = [*TINY, "--unseen", 6, "--data.root", picture_folder(), "--runs", tmp_path / "runs", "--name", "table"]
    arguments = ["experiments", "--recipes", "lr", "critic-mlr", "mse+id", "intact", *map(str, options)]
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *("-m", "intact_fast.cli", *arguments),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("recipes.md") == 1, "only rank 0 speaks"
    table = tmp_path / "runs" / "table" / "recipes.json"
    written = table.read_bytes()
    assert json.loads(written).keys() == {"lr", "critic-mlr", "mse+id", "intact"}
    assert main(arguments) == 0
    assert table.read_bytes() == written
    assert "INTACT 1/2" not in capsys.readouterr().out, "nothing is trained again"
    assert main([*arguments[:2], "lr", *arguments[6:], "--unseen", "8"]) == 0, "nothing is left to train"
    assert main([*arguments[:2], "sole-sr", *arguments[6:]]) == 2
    assert "begun with 2 process(es), now there are 1" in capsys.readouterr().err
