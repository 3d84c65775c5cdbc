"""A user's own pictures: ``pid_camX_anything.jpg``, or a CSV of path, pid and camera."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import cast, get_args

from intact_fast.data.catalogue import Catalogue, Picture, Subset
from intact_fast.data.picture_files import list_pictures
from intact_fast.errors import UserError

CSV_NAME = "pictures.csv"
_NAME = re.compile(r"([^_]+)_cam(\d+)(?:_.*)?$")
_ROLES: tuple[str, ...] = tuple(role for role in get_args(Subset) if role != "all")


def read_folder(root: Path) -> Catalogue:
    """Read ``root/pictures.csv`` where there is one, else the file names.

    File names are ``pid_camX_anything.jpg``; sub-folders called ``train``, ``query``, ``gallery``
    or ``test`` fix what their pictures are for. The CSV has the columns ``path`` (relative to
    ``root``), ``pid``, ``camera`` and, optionally, ``split`` with the same four words. Without
    fixed roles the identities are halved at random. The lowest camera number is LR by default; with
    fixed queries all of them are.

    Args:
        root: Folder of the pictures.

    Raises:
        UserError: Nothing was found, or a row or file name does not follow the form.
    """
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds the pictures")
    table = root / CSV_NAME
    raw = _read_csv(root, table) if table.is_file() else _read_names(root)
    if not raw:
        raise UserError(
            f"--data.root {root}: no picture named like 0001_cam1_x.jpg and no {CSV_NAME}; rename the files or "
            "add the table"
        )
    numbers = _number_pids([pid for _, pid, _, _ in raw])
    pictures = tuple(Picture(path, numbers[pid], camera, subset) for path, pid, camera, subset in raw)
    fixed_queries = any(p.subset == "query" for p in pictures)
    return Catalogue("folder", pictures, None if fixed_queries else min(p.camera for p in pictures))


def _number_pids(pids: list[str]) -> dict[str, int]:
    """Keep decimal identity names as numbers; give any other set of names numbers in sorted order."""
    names = sorted(set(pids))
    if all(name.isdecimal() for name in names) and len({int(name) for name in names}) == len(names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _read_names(root: Path) -> list[tuple[str, str, int, Subset]]:
    rows = []
    for path in list_pictures(root, recursive=True).pictures:
        match = _NAME.match(path.stem)
        if match is None:
            raise UserError(f"{path}: expected a name like 0001_cam1_x.jpg; rename it or list it in {CSV_NAME}")
        relative = path.relative_to(root)
        subset = next((part for part in relative.parts[:-1] if part in _ROLES), "all")
        rows.append((relative.as_posix(), match[1], int(match[2]), cast(Subset, subset)))
    return rows


def _read_csv(root: Path, table: Path) -> list[tuple[str, str, int, Subset]]:
    rows = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "pid", "camera"} - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{table}: no column {', '.join(sorted(missing))}; the header is path,pid,camera[,split]")
        for number, row in enumerate(reader, start=2):
            subset = (row.get("split") or "all").strip()
            if subset != "all" and subset not in _ROLES:
                raise UserError(f"{table}, line {number}: split {subset!r}; use one of {', '.join(_ROLES)}")
            if not (row["camera"] or "").strip().isdecimal():
                raise UserError(f"{table}, line {number}: camera {row['camera']!r}; give a whole number")
            if not (row["pid"] or "").strip():
                raise UserError(f"{table}, line {number}: no pid; give the identity of {row['path']}")
            if not row["path"] or not (root / row["path"]).is_file():
                raise UserError(f"{table}, line {number}: no file {root / row['path']}; correct the path")
            rows.append((row["path"], row["pid"].strip(), int(row["camera"]), cast(Subset, subset)))
    return rows
