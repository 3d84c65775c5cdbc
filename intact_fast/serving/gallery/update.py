"""Bringing a gallery up to date with its folder, a commit at a time, so that an interrupted update goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact_fast.errors import warn
from intact_fast.files import stamp
from intact_fast.serving.gallery.columns import (
    GIVEN,
    STAMP,
    ColumnSource,
    changed_columns,
    file_name,
    stored_name,
    warn_unknown,
)
from intact_fast.serving.gallery.computing import compute_rows
from intact_fast.serving.gallery.engine import pa
from intact_fast.serving.gallery.store import Gallery
from intact_fast.serving.gallery.vanished import find_vanished
from intact_fast.serving.picture_reading import Unreadable
from intact_fast.serving.sr_reid import SRReID

COMMIT = 5000
"""Pictures of a commit; what is computed since the last one is computed again after a crash."""
_KEYS = ["path", *STAMP]


@dataclass(frozen=True)
class Update:
    """Numbers of pictures that bringing a gallery up to date computed, kept and dropped.

    Attributes:
        computed: New and changed ones.
        kept: Those whose features stay.
        dropped: Rows of vanished and changed pictures.
        skipped: Files that were known to be unreadable, and were not tried again.
    """

    computed: int
    kept: int
    dropped: int
    skipped: int = 0


def update_gallery(
    gallery: Gallery,
    model: SRReID,
    folder: Path,
    pictures: Sequence[Path],
    unreadable: Unreadable,
    source: ColumnSource | None = None,
    advance: Callable[[int], None] = lambda count: None,
    drop_vanished: bool = False,
) -> Update:
    """Compute the features of new and changed pictures, and drop those of vanished ones.

    Args:
        gallery: Is brought up to date.
        model: Computes features.
        folder: Where the pictures are; the gallery does not remember it.
        pictures: All of them.
        unreadable: Takes those that are left out.
        source: Gives their columns; those of known pictures are brought up to date, too. None leaves them.
        advance: Told how many pictures are done.
        drop_vanished: Drop vanished ones even if they are most of the gallery.

    Raises:
        UserError: Most of the gallery's pictures have vanished, as on a disk that is mounted in part.
    """
    with gallery.writing():
        return _update(gallery, model, folder, pictures, unreadable, source, advance, drop_vanished)


def _update(
    gallery: Gallery,
    model: SRReID,
    folder: Path,
    pictures: Sequence[Path],
    unreadable: Unreadable,
    source: ColumnSource | None,
    advance: Callable[[int], None],
    drop_vanished: bool,
) -> Update:
    names = [str(path.relative_to(folder)) for path in pictures]
    wanted = stamped_names(names, pictures)
    known, bad = gallery.table(_KEYS), gallery.unreadable()
    find_vanished(known["path"], wanted["path"], f"--gallery {folder}", f"--index {gallery.place}", drop_vanished)
    stale = known.join(wanted, _KEYS, join_type="left anti")["path"].to_pylist()
    bad = bad.join(wanted, _KEYS, join_type="left semi")
    missing = wanted.join(known, _KEYS, join_type="left anti").join(bad, _KEYS, join_type="left anti")
    fresh = [folder / file_name(name) for name in sorted(missing["path"].to_pylist())]
    # changed pictures, too: a crash in between leaves pictures to be computed, and none that is there twice
    gallery.delete_paths(stale)
    kept = len(known) - len(stale)
    if source is not None and names:
        warn_unknown(source, names, "the columns")
        _bring_columns_up(gallery, source)
    advance(len(pictures) - len(fresh))
    computed = 0
    for rows in compute_rows(model, folder, fresh, source, unreadable, advance, COMMIT):
        gallery.append(rows)
        computed += len(rows)
    # queries that could not be read are among the reasons, too
    bad_files = ((path, unreadable.reasons[path]) for path in fresh if path in unreadable.reasons)
    failed = [(str(path.relative_to(folder)), path, reason) for path, reason in bad_files]
    rows = [gallery.unreadable_row(name, stamp(path), reason) for name, path, reason in failed if path.exists()]
    if rows or len(bad) != len(gallery.unreadable()):
        gallery.remember_unreadable([*bad.to_pylist(), *rows])
    if computed or stale:
        gallery.tidy()
    if len(bad):
        warn(f"{len(bad):,} files that could not be read before are not tried again, such as {bad['path'][0]}")
    return Update(computed, kept, len(stale), len(bad))


def stamped_names(names: Sequence[str], pictures: Sequence[Path]) -> Any:
    """Give the stored names and the stamps of files as an Arrow table."""
    stamps = [stamp(path) for path in pictures]
    columns = [pa.array([one[i] for one in stamps], pa.int64()) for i in range(len(STAMP))]
    return pa.table([pa.array(map(stored_name, names), pa.string()), *columns], names=_KEYS)


def _bring_columns_up(gallery: Gallery, source: ColumnSource) -> None:
    """Write the columns of known pictures where a source says something else; their features are not computed."""
    changed = changed_columns(gallery.table(["path", *GIVEN]), source)
    if changed:
        schema = gallery.dataset.schema
        fields = [schema.field(name) for name in ("path", *GIVEN)]
        gallery.merge(pa.Table.from_pylist(changed, schema=pa.schema(fields)))
