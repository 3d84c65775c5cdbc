"""The form in which slow work reports its progress, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Begins a piece of work by its name and the number of its steps; gives what to call with a number of steps done."""


@contextmanager
def no_progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Report to nobody."""
    yield lambda count: None
