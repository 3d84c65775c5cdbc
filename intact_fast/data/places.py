"""Pictures that a manifest names lie below the folder that the user gives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from intact_fast.config.checks import source_of
from intact_fast.data.manifest import Entry
from intact_fast.errors import UserError
from intact_fast.file_names import leads_out


def require_inside(
    entries: Iterable[Entry], root: Path, sources: Sequence[str] = (), option: str = "--data.root"
) -> None:
    """See that every entry lies below the root, or below the folder of a source that the user names, too.

    A path that goes up (``..``), and an absolute one, is followed to where it really leads. Any other path is taken as
    it stands: where it passes a link, the link was made in the root, which is its owner's.

    Args:
        entries: Of a manifest.
        root: Folder that its paths are relative to.
        sources: As of ``--data.sources``.
        option: By which the user named the root, for the error.

    Raises:
        UserError: One lies elsewhere.
    """
    wandering = [entry for entry in entries if leads_out(entry.path, follow=True)]
    if not wandering:
        return
    places = [root, *(place for _, place in map(source_of, sources) if place is not None)]
    allowed = [os.path.realpath(place) for place in places]
    for entry in wandering:
        real = os.path.realpath(root / entry.path)
        if not any(os.path.commonpath((place, real)) == place for place in allowed):
            raise UserError(
                f"{option} {root}: the manifest's {entry.path} lies outside; give a folder that holds all pictures, "
                "or, where it is of a further data set, name that by --data.sources name:folder"
            )
