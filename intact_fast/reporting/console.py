"""The console that runs and commands print to."""

from __future__ import annotations

from rich.console import Console


def make_console(quiet: bool = False) -> Console:
    """Make a console that keeps each line whole. It is wide enough for tables where stdout is a file or a pipe."""
    wide = None if Console().is_terminal else 120
    return Console(quiet=quiet, highlight=False, soft_wrap=True, width=wide)
