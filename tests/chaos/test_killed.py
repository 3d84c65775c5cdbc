"""A small share of what `make chaos` does: kills of trainings and of other commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("campaign", "share"), [("killed_trainings", 0.02), ("killed_commands", 0.05)])
def test_promises_hold(campaign: str, share: float) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--campaign", campaign, "--share", str(share)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
