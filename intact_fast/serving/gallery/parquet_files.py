"""Features in Parquet files, for any other system, and back into a gallery.

A file, or a folder of parts. Each part is written whole, so that an interrupted writer goes on behind the last one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.utils.dlpack

from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.gallery.columns import GIVEN, STAMP, ColumnSource, changed_columns, make_schema
from intact_fast.serving.gallery.engine import engine_errors, pa, pc, pq
from intact_fast.serving.gallery.store import KEY, Gallery, Identity
from intact_fast.serving.gallery.vanished import find_vanished

SUFFIX = ".parquet"
_KEYS = ["path", *STAMP]
_BATCH = 5000
_PART = re.compile(r"part-(\d+)\.parquet")


def is_parquet(place: Path) -> bool:
    """Say whether a gallery is given as a Parquet file or a folder of such files."""
    return place.suffix.lower() == SUFFIX or (place.is_dir() and any(place.glob(f"*{SUFFIX}")))


def parts_of(place: Path) -> list[Path]:
    """Name the Parquet files at a place, in order."""
    if place.is_dir():
        return sorted(place.glob(f"*{SUFFIX}"))
    return [place] if place.exists() else []


def check_made_by(part: Path, identity: Identity, option: str, ours: bool = False) -> None:
    """Refuse a file whose features do not compare with the model's.

    Args:
        part: The file.
        identity: Of the model.
        option: How the user named it, for the error.
        ours: Refuse a file that names no model, too; else it is trusted.

    Raises:
        UserError: Another model made it, or it is no Parquet file.
    """
    with engine_errors(f"{option} {part}"):
        metadata = pq.read_schema(part).metadata or {}
    text = metadata.get(KEY.encode())
    if text is None and ours:
        raise UserError(f"{option} {part}: a Parquet file, but none of ours, which stays as it is; give another name")
    if text is not None:
        made = Identity.from_text(text, f"{option} {part}")
        if not made.made_the_same(identity):
            raise UserError(f"{option} {part}: made with {made}, and this is {identity}; use that model and --mode")


def write_part(rows: Any, path: Path, identity: Identity) -> None:
    """Write rows of `make_rows` as a Parquet file that says what made them, atomically."""
    with write_atomically(path) as temporary:
        # features have no repeated values: dictionaries and compression cost time and save nothing
        text = [name for name in rows.column_names if name != "feature"]
        table = rows.replace_schema_metadata({KEY: identity.to_text()})
        pq.write_table(table, temporary, use_dictionary=text, compression=dict.fromkeys(text, "zstd"))


def numbered_part(folder: Path, number: int) -> Path:
    """Name a part of a folder."""
    return folder / f"part-{number:06d}{SUFFIX}"


def next_number(folder: Path) -> int:
    """Give the first number behind those of the parts of a folder."""
    numbers = [int(found[1]) for part in parts_of(folder) if (found := _PART.fullmatch(part.name))]
    return max(numbers, default=-1) + 1


def drop_stale_rows(parts: Sequence[Path], wanted: Any, identity: Identity) -> tuple[list[str], int, int]:
    """Drop rows of changed and vanished pictures, and those that an earlier part has, too.

    Args:
        parts: Files of ours.
        wanted: Arrow table of paths and stamps of the pictures that are there.
        identity: Of the model.

    Returns:
        Stored names of the pictures that no part has, in order; numbers of rows that stay and that were dropped.
    """
    missing, kept, dropped = wanted, 0, 0
    for part in parts:
        rows = pq.read_table(part, columns=_KEYS, partitioning=None)
        good = rows.join(missing, _KEYS, join_type="left semi")
        missing = missing.join(good, _KEYS, join_type="left anti")
        kept, dropped = kept + len(good), dropped + len(rows) - len(good)
        if not len(good):
            part.unlink()
        elif len(good) < len(rows):
            table = pq.read_table(part, partitioning=None)
            write_part(table.filter(pc.is_in(table["path"], good["path"])), part, identity)
    return sorted(missing["path"].to_pylist()), kept, dropped


def bring_columns_up(parts: Sequence[Path], source: ColumnSource, identity: Identity) -> None:
    """Write parts again whose pictures have other columns by a source; features stay, and so do rows it is silent on.

    Args:
        parts: Files of ours.
        source: Gives columns.
        identity: Of the model.
    """
    for part in parts:
        known = pq.read_table(part, columns=["path", *GIVEN], partitioning=None)
        changed = {row["path"]: row for row in changed_columns(known, source)}
        if not changed:
            continue
        rows = [changed.get(row["path"], row) for row in known.to_pylist()]
        table = pq.read_table(part, partitioning=None)
        for name in GIVEN:
            at = table.schema.get_field_index(name)
            field = table.schema.field(at)
            table = table.set_column(at, field, pa.array([row[name] for row in rows], field.type))
        write_part(table, part, identity)


def paths_of(parts: Sequence[Path]) -> Any:
    """Give the stored names of all rows of some parts as one Arrow column."""
    read = (pq.read_table(part, columns=["path"], partitioning=None)["path"].cast(pa.string()) for part in parts)
    return pa.chunked_array([chunk for column in read for chunk in column.chunks], pa.string())


def join_parts(parts: Sequence[Path], path: Path, identity: Identity) -> None:
    """Write the rows of some parts as one file, a few thousand at a time, atomically."""
    schema = pq.read_schema(parts[0]).with_metadata({KEY: identity.to_text()})
    text = [name for name in schema.names if name != "feature"]
    with (
        write_atomically(path) as temporary,
        pq.ParquetWriter(temporary, schema, use_dictionary=text, compression=dict.fromkeys(text, "zstd")) as writer,
    ):
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(_BATCH):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def read_into(
    gallery: Gallery,
    place: Path,
    identity: Identity,
    advance: Callable[[int], None] = lambda count: None,
    drop_vanished: bool = False,
) -> tuple[int, int]:
    """Bring a gallery up to date with Parquet files: new and changed rows are added, vanished ones deleted.

    A file needs the columns path and feature; of the others those that it has are taken.

    Args:
        gallery: Is brought up to date.
        place: A file, or a folder of files.
        identity: Of the model that searches.
        advance: Told how many rows are done.
        drop_vanished: Delete vanished rows even if they are most of the gallery.

    Returns:
        Numbers of rows added and in all.

    Raises:
        UserError: A file is none, lacks a column, or another model made it; or most of the gallery has vanished.
    """
    parts = parts_of(place)
    if not parts:
        raise UserError(f"--gallery {place}: no such file, and no folder of .parquet files")
    option = f"--gallery {place}"
    schema = make_schema(gallery.width)
    for part in parts:
        check_made_by(part, identity, "--gallery")
        names = pq.read_schema(part).names
        if not {"path", "feature"} <= set(names):
            raise UserError(f"--gallery {part}: lacks a column path or feature; intact-fast embed writes such a file")
    added = 0
    with gallery.writing(), engine_errors(option):
        known = gallery.table([*_KEYS, *GIVEN])
        kept = f"--index {gallery.place}"
        vanished = find_vanished(known["path"], paths_of(parts), option, kept, drop_vanished)
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(_BATCH):
                rows = _completed(pa.Table.from_batches([batch]), schema)
                fresh = rows.filter(_is_new(rows, known))
                if len(fresh):
                    _check_features(fresh, part)
                    gallery.merge(fresh)
                added += len(fresh)
                advance(len(rows))
        gallery.delete_paths(vanished)
        if added or vanished:
            gallery.tidy()
    return added, len(gallery)


def _completed(rows: Any, schema: Any) -> Any:
    """Give rows all columns of a gallery, in its types; what they lack is null."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _check_features(rows: Any, part: Path) -> None:
    """Refuse rows whose features are not numbers."""
    names = [f"--gallery {part}: {name}" for name in rows["path"].to_pylist()]
    features = rows["feature"].combine_chunks()
    if features.null_count:
        raise UserError(f"{names[features.is_null().index(True).as_py()]}: has no feature; leave the row out")
    require_numbers(torch.utils.dlpack.from_dlpack(features.flatten()).view(len(rows), -1), names)


def _is_new(rows: Any, known: Any) -> Any:
    """Say of each row whether the gallery lacks it, or has it of a file with another stamp, or with other columns."""
    at = pc.index_in(rows["path"], known["path"])
    present = pc.is_valid(at)
    for name in (*STAMP, *GIVEN) if len(known) else ():
        theirs, ours = rows[name], known[name].take(pc.fill_null(at, 0))
        # rows of other systems have no stamps: they are those that are there
        unknown = True if name in STAMP else pc.and_(pc.is_null(theirs), pc.is_null(ours))
        present = pc.and_(present, pc.coalesce(pc.equal(ours, theirs), unknown))
    return pc.invert(present)
