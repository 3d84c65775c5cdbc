"""A progress bar on stderr, which commands hand to slow pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress(name: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr where that is a terminal.

    Args:
        name: Text beside the bar.
        total: Number of pictures.
        quiet: Show nothing.

    Yields:
        A function that is called with a number of pictures done.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)
