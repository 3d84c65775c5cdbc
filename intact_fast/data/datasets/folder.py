"""A user's own pictures: known forms of names, a pattern for others, or a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.datasets.folder_ids import number_people
from intact_fast.data.datasets.folder_names import read_names
from intact_fast.data.datasets.folder_roles import settle_roles
from intact_fast.data.datasets.folder_rows import Reading, settle_junk
from intact_fast.data.datasets.folder_table import TABLE_NAME, find_table, read_table
from intact_fast.errors import UserError


def read_folder(root: Path, name_pattern: str | None = None, needs_test: bool = True) -> Catalogue:
    """Read ``root/pictures.csv`` where there is one, else the file names.

    File names are ``pid_camX_anything.jpg`` or Market-1501's ``0001_c1s1_000151_00.jpg``. Where each person has a
    folder, ``cam1_anything.jpg`` is enough, and any name where no file names a camera. A pattern understands others.
    Folders that are called ``train``, ``val``, ``query``, ``gallery`` or ``test`` fix what their pictures are for. The
    table has the columns ``path`` and ``pid`` and, optionally, ``camera`` and ``split`` with the same words.

    Without fixed roles the identities are halved at random. The lowest camera number is LR by default; with fixed
    queries all of them are.

    Args:
        root: Folder of the pictures.
        name_pattern: Regular expression with the group ``pid`` and, optionally, ``camera`` and ``role``.
        needs_test: Whether roles have to say who is tested; a source of further training people tests nobody.

    Raises:
        UserError: Nothing was found, or something could be understood in two ways or in none.
    """
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds the pictures")
    table = find_table(root)
    if table is not None and name_pattern is not None:
        raise UserError(
            f"--data.name-pattern: {table} says what names would; remove the table, or leave the option out"
        )
    reading = settle_junk(read_names(root, name_pattern) if table is None else read_table(root, table))
    left_out = reading.left_out
    if not reading.rows:
        raise UserError(_nothing_found(root, reading))
    roles, sentence = settle_roles([row.subset for row in reading.rows], needs_test)
    places = {row.pid: row.place for row in reversed(reading.rows)}
    numbers, notes = number_people(places)
    pictures = tuple(
        Picture(row.path, numbers[row.pid], row.camera, role) for row, role in zip(reading.rows, roles, strict=True)
    )
    pictures, warning = _without_double_roles(pictures)
    asked = [p.camera for p in pictures if p.subset in ("all", "test")] or [p.camera for p in pictures]
    return Catalogue(
        "folder",
        pictures,
        None if "query" in roles else min(asked),
        distractor_pid=next((numbers[row.pid] for row in reading.rows if row.is_distractor), None),
        left_out=left_out,
        notes=(*reading.notes, *filter(None, [sentence]), *notes),
        warnings=(*reading.warnings, *filter(None, [warning])),
    )


def _nothing_found(root: Path, reading: Reading) -> str:
    """Say what was looked for, and what is there instead."""
    tables = sorted(path.name for path in root.glob("*.[ct]sv") if path.name.casefold() != TABLE_NAME)
    told = (
        *(f"{name} has another name" for name in tables[:1]),
        *(note for note in reading.notes if note.startswith("left out")),
    )
    if reading.left_out:
        told = (*told, f"left out {reading.left_out.describe()}")
    there = f" ({'; '.join(told)})" if told else ""
    return (
        f"--data.root {root}: no picture named like 0001_cam1_x.jpg and no {TABLE_NAME}; rename the files or add the "
        f"table{there}"
    )


def _without_double_roles(pictures: tuple[Picture, ...]) -> tuple[tuple[Picture, ...], str]:
    """Let people train with all their pictures who train and validate, as validation needs other people."""
    training = {p.pid for p in pictures if p.subset == "train"}
    both = [p for p in pictures if p.subset == "val" and p.pid in training]
    if not both:
        return pictures, ""
    warning = (
        f"{len({p.pid for p in both}):,} people in val also train, so their {len(both):,} pictures in val "
        f"({both[0].path} first) train, too; validation needs people of its own"
    )
    moved = {p.path for p in both}
    return tuple(replace(p, subset="train") if p.path in moved else p for p in pictures), warning
