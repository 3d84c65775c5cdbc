"""Warnings that many files can give: said once, with their number and the first names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from intact_fast.errors import warn

_SHOWN = 3
_names: dict[str, dict[str, None]] = {}


def tally(what: str, name: Path | str) -> None:
    """Remember that something holds for a file. Threads may do so at once; a file counts once.

    Args:
        what: The end of a sentence that begins with the number of pictures: ``1 picture(s) …``.
        name: The file.
    """
    _names.setdefault(what, {})[str(name)] = None


def take_tallies() -> dict[str, list[str]]:
    """Give what was remembered, and forget it: a worker process hands it to the one that warns."""
    # another thread may add meanwhile
    taken = {what: list(_names.pop(what, {})) for what in list(_names)}
    return {what: names for what, names in taken.items() if names}


def add_tallies(tallies: Mapping[str, Sequence[str]]) -> None:
    """Remember what a worker process has handed over."""
    for what, names in tallies.items():
        for name in names:
            tally(what, name)


def warn_tallies() -> None:
    """Print one warning for each thing that was remembered, and forget it."""
    for what, names in take_tallies().items():
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        warn(f"{len(names):,} picture{'' if len(names) == 1 else 's'} {what} ({shown})")
