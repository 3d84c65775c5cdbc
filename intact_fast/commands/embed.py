"""``intact-fast embed``: features of pictures with their columns, in Parquet files for any other system."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from intact_fast.commands.gallery_options import ColumnOptions
from intact_fast.commands.model_options import run_command, warn_unreadable
from intact_fast.commands.progress_bar import progress
from intact_fast.errors import UserError
from intact_fast.files import check_writable, is_leftover
from intact_fast.json_text import to_json
from intact_fast.serving.gallery.columns import ColumnSource, file_name, warn_unknown
from intact_fast.serving.gallery.computing import compute_rows
from intact_fast.serving.gallery.parquet_files import (
    SUFFIX,
    bring_columns_up,
    check_made_by,
    drop_stale_rows,
    join_parts,
    next_number,
    numbered_part,
    parts_of,
    paths_of,
    write_part,
)
from intact_fast.serving.gallery.store import Identity
from intact_fast.serving.gallery.update import stamped_names
from intact_fast.serving.gallery.vanished import find_vanished
from intact_fast.serving.picture_reading import Unreadable, list_pictures
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.distributed.process import Process, process_group


@dataclass(frozen=True)
class EmbedOptions(ColumnOptions):
    """Write the features of pictures, with path, camera, time, track, person, size and hash, as Parquet.

    Under torchrun (`torchrun --nproc-per-node=2 -m intact_fast.cli embed …`) each process computes parts of its own.
    An interrupted call goes on behind the parts that it wrote; a later one computes new and changed pictures alone.

    Exit status: 0 when all pictures were read, 1 when some could not be, 2 after a mistake in the options.
    """

    pictures: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")] = tyro.MISSING
    """Folder or picture to read."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = tyro.MISSING
    """File `x.parquet` to write, or folder of parts."""
    part_rows: int = 5000
    """Pictures of a part; what is computed of an unfinished one is computed again after a crash."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(EmbedOptions, "intact-fast embed", arguments, _run)


@dataclass(frozen=True)
class _Work:
    """What is to be computed, the same in each process."""

    names: list[str]
    first_part: int
    kept: int
    dropped: int


def _run(options: EmbedOptions) -> int:
    if options.part_rows < 1:
        raise UserError(f"--part-rows {options.part_rows}: must be 1 or more")
    is_file = options.target.suffix.lower() == SUFFIX
    if is_file and options.target.is_dir():
        raise UserError(f"{options.target}: is a folder; name a file, or a folder without {SUFFIX}")
    if not is_file and options.target.is_file():
        raise UserError(f"{options.target}: a file of something else; name it x{SUFFIX}, or a folder")
    check_writable(options.target, "embed", folder=not is_file)
    source = options.source()
    with process_group(options.device) as process:
        model = options.load()
        model.mode = options.mode
        identity = options.identity(model)
        parts = options.target.with_name(f".{options.target.name}.parts") if is_file else options.target
        work = process.on_main(lambda: _plan(options, parts, identity, source))
        counts = process.share(lambda: _compute(options, model, identity, source, work, parts, process))
        unreadable = Unreadable({path: reason for found, _ in counts for path, reason in found.reasons.items()})
        computed = sum(count for _, count in counts)
        if is_file:
            process.on_main(lambda: _join(options.target, parts, identity))
    if process.is_main:
        _print(options, work, computed, unreadable)
    return warn_unreadable(unreadable)


def _folder(options: EmbedOptions) -> Path:
    return options.pictures.parent if options.pictures.is_file() else options.pictures


def _plan(options: EmbedOptions, parts: Path, identity: Identity, source: ColumnSource | None) -> _Work:
    """Find what is to be computed, after dropping rows of changed and vanished pictures."""
    pictures = list_pictures(options.pictures).pictures
    written = list(dict.fromkeys([*parts_of(options.target), *parts_of(parts)]))
    for part in written:
        check_made_by(part, identity, "embed", ours=True)
    names = [str(path.relative_to(_folder(options))) for path in pictures]
    if source is not None:
        warn_unknown(source, names, "the columns")
    wanted = stamped_names(names, pictures)
    known = paths_of(written).unique()
    find_vanished(known, wanted["path"], str(options.pictures), str(options.target), options.drop_vanished)
    missing, kept, dropped = drop_stale_rows(written, wanted, identity)
    if source is not None:
        bring_columns_up([part for part in written if part.exists()], source, identity)
    return _Work([file_name(name) for name in missing], next_number(parts), kept, dropped)


def _compute(
    options: EmbedOptions,
    model: SRReID,
    identity: Identity,
    source: ColumnSource | None,
    work: _Work,
    parts: Path,
    process: Process,
) -> tuple[Unreadable, int]:
    """Compute this process's parts; returns what could not be read, and the number of rows."""
    unreadable, computed = Unreadable(), 0
    chunks = [work.names[i : i + options.part_rows] for i in range(0, len(work.names), options.part_rows)]
    mine = list(enumerate(chunks))[process.rank :: process.world_size]
    folder = _folder(options)
    quiet = options.json or not process.is_main
    with progress("embedding", sum(len(chunk) for _, chunk in mine), quiet) as advance:
        for number, chunk in mine:
            paths = [folder / name for name in chunk]
            for rows in compute_rows(model, folder, paths, source, unreadable, advance, len(chunk)):
                write_part(rows, numbered_part(parts, work.first_part + number), identity)
                computed += len(rows)
    return unreadable, computed


def _join(target: Path, parts: Path, identity: Identity) -> None:
    """Put the file and its new parts together; the parts go when the file is there."""
    new = parts_of(parts)
    if new:
        join_parts([*parts_of(target), *new], target, identity)
    if parts.exists():
        for file in parts.iterdir():
            if file in new or is_leftover(file):
                file.unlink()
        # what is none of ours stays, and its folder with it
        with suppress(OSError):
            parts.rmdir()


def _print(options: EmbedOptions, work: _Work, computed: int, unreadable: Unreadable) -> None:
    figures = {
        "rows": work.kept + computed,
        "computed": computed,
        "dropped": work.dropped,
        "unreadable": sorted(map(str, unreadable.reasons)),
        "target": str(options.target),
    }
    if options.json:
        print(to_json(figures, indent=1))
        return
    print(
        f"{figures['rows']} rows in {options.target} ({computed} of them new), {work.dropped} dropped, "
        f"{len(unreadable.reasons)} pictures unreadable"
    )
