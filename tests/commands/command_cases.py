"""Options of the smallest training, and commands as the console script runs them."""

from __future__ import annotations

import pytest

from intact_fast.cli import main

TINY = (
    "--preset cpu --device cpu --data.dataset folder --data.backend pillow --data.threads 0 --data.height 48 "
    "--data.width 32 --generator.widths 4 4 6 6 --discriminator.widths 4 4 6 8 --discriminator.hidden 10 "
    "--association.hidden 12 10 --association.latent 8 --critic.iterations 1 --critic.batch-size 4 "
    "--training.iterations 1 --training.batch-size 4 --training.log-every 1"
).split()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the console script and return its only line on stderr."""
    assert main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]
