"""A folder that is mounted in part looks like one whose pictures are gone: then nothing is dropped without a word."""

from __future__ import annotations

from typing import Any

from intact_fast.errors import UserError
from intact_fast.serving.gallery.engine import pc

_HANDFUL = 10
"""So few pictures may be all that there are, and go at any time."""


def find_vanished(known: Any, there: Any, source: str, kept: str, drop_vanished: bool) -> list[str]:
    """Give the known pictures that are no longer there, unless they are most of them.

    Args:
        known: Arrow text column of stored names, each once.
        there: Arrow text column of the names that there are.
        source: Option and folder of the pictures, as the error begins.
        kept: What holds the known ones.
        drop_vanished: Take any number.

    Raises:
        UserError: More than a handful and more than half of them have vanished.
    """
    vanished = known.filter(pc.invert(pc.is_in(known, there))).to_pylist()
    if not drop_vanished and len(vanished) > max(_HANDFUL, len(known) // 2):
        raise UserError(
            f"{source}: lacks {len(vanished):,} of the {len(known):,} pictures in {kept}, which stays as it is; mount "
            "the whole folder, or add --drop-vanished"
        )
    return vanished
