"""The console that runs and commands print to."""

from __future__ import annotations

from rich.console import Console


def make_console(quiet: bool = False) -> Console:
    """A console that keeps each line whole, and is wide enough for the tables where stdout is a file or a pipe."""
    wide = None if Console().is_terminal else 120
    return Console(quiet=quiet, highlight=False, soft_wrap=True, width=wide)
