"""A table of one's own pictures, as spreadsheets and scripts save it."""

from __future__ import annotations

import codecs
import csv
import io
import ntpath
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from intact_fast.data.catalogue import Subset
from intact_fast.data.datasets.folder_ids import check_pid, person_of
from intact_fast.data.datasets.folder_roles import ROLES, role_of_word, roles_of_folders
from intact_fast.data.datasets.folder_rows import NO_CAMERA, NO_CAMERA_NOTE, Reading, Row, camera_number
from intact_fast.data.picture_files import LeftOut
from intact_fast.errors import UserError
from intact_fast.file_names import leads_out

TABLE_NAME = "pictures.csv"
_NEEDED = ("path", "pid")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "img_path", "picture"),
    "pid": ("pid", "person_id", "personid", "person", "identity"),
    "camera": ("camera", "cam", "camid", "cam_id", "camera_id", "cameraid"),
    "split": ("split", "role", "subset"),
}
"""What a column may be called, the first name first; small letters."""
_SEPARATORS = (",", ";", "\t", "|")
_NO_ROLE = frozenset({"", "all", "nan", "none", "null", "na", "<na>"})
_CAMERA = re.compile(r"(?:(?:cam(?:era)?|c)[ _-]?)?(\d+)(?:\.0*|,0)?", re.IGNORECASE)
_COPIES = frozenset({".ipynb_checkpoints", "@eadir", "__macosx"})
"""Folders of copies that a script's list of a folder may hold."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""In this order, as UTF-32's begins with UTF-16's."""
_OTHER_FILES = (
    (b"PK\x03\x04", "a workbook of Excel or LibreOffice, or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"{\\rtf", "a text document (RTF)"),
)
"""What else is saved or renamed as a table, by how it begins."""


def find_table(root: Path) -> Path | None:
    """Find ``pictures.csv`` in any case; None where there is none.

    Raises:
        UserError: There are two, something else has its name, or the folder cannot be read.
    """
    try:
        found = sorted(path for path in root.iterdir() if path.name.casefold() == TABLE_NAME)
    except OSError as error:
        raise UserError(f"--data.root {root}: cannot be read ({error.strerror or error}); allow reading it") from error
    if len(found) > 1:
        raise UserError(f"{found[0]}: stands beside {found[1].name}; keep one of them")
    if found and not found[0].is_file():
        raise UserError(f"{found[0]}: is no file; rename it, or replace it by the table")
    return found[0] if found else None


def read_table(root: Path, table: Path) -> Reading:
    """Read path, identity and, where there are columns for them, camera and role of each picture.

    UTF-8, UTF-16 and Windows' cp1252 are read, with commas, semicolons, tabs or bars between the columns. Paths are
    relative to the root, or lie below it.

    Raises:
        UserError: The table is damaged, a column is missing, or a line says something wrong.
    """
    text, encoding = _decoded(table)
    lines = _Lines(root, table, text, encoding)
    rows = lines.rows()
    notes = [f"identity and camera by the table {table.name} ({encoding}, {lines.separator_name})"]
    if not lines.has_camera:
        notes = [f"identity by the table {table.name} ({encoding}, {lines.separator_name}); {NO_CAMERA_NOTE}"]
    if lines.unread:
        notes.append(f"columns that are not read: {', '.join(lines.unread)}")
    warnings = []
    if lines.repeated:
        warnings.append(f"{table}: {lines.repeated:,} lines repeat a picture, and count once")
    without_role = sum(row.subset == "all" for row in rows)
    if without_role == len(rows):
        remedy = f"give {table.name} a column split, or name the folders train, val, test, query and gallery"
        roles, sentence = roles_of_folders([row.path for row in rows], remedy)
        rows = [_with_role(row, role) for row, role in zip(rows, roles, strict=True)]
        notes.append(f"the table gives no split; {sentence}")
    else:
        notes.append("roles by the table")
        if without_role:
            warnings.append(
                f"{table}: {without_role:,} of {len(rows):,} pictures have no split, so their people are halved at "
                "random; give them one if they should not be"
            )
    return Reading(rows, tuple(notes), tuple(warnings), LeftOut(hidden=tuple(lines.copies)))


def _with_role(row: Row, role: Subset) -> Row:
    return Row(row.path, row.pid, row.camera, role, row.place)


def _decoded(table: Path) -> tuple[str, str]:
    """Decode the file, and name the encoding."""
    try:
        content = table.read_bytes()
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror or error}); allow reading it") from error
    for start, what in _OTHER_FILES:
        if content.startswith(start):
            raise UserError(f"{table}: is {what}; open it and save it as CSV UTF-8")
    marked = [encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)]
    zeros = [content[side::2].count(0) for side in (0, 1)]
    if marked:
        encodings = marked[:1]
    elif sum(zeros):
        encodings = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    else:
        encodings = ["utf-8", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding), encoding.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    raise UserError(f"{table}: neither UTF-8 nor {encodings[-1]}; save it as CSV UTF-8")


class _Lines:
    """The lines of a table, understood one by one.

    Attributes:
        separator_name: What stands between the columns, in words.
        has_camera: Whether there is a column of cameras.
        repeated: How many lines say what another one has said.
        copies: Hidden copies that the table lists.
        unread: Names of columns that say nothing to us.
    """

    def __init__(self, root: Path, table: Path, text: str, encoding: str) -> None:
        self._root = root
        self._table = table
        self._encoding = encoding
        first, _, rest = text.partition("\n")
        # the line by which Excel is told its separator
        told = re.fullmatch(r'"?sep=(.)"?', first.strip("\r"), re.IGNORECASE)
        self._skipped = 1 if told else 0
        self._text = rest if told else text
        header_line = next((line for line in self._text.splitlines() if line.strip()), "")
        self._separator = told[1] if told else _separator_of(header_line)
        self.separator_name = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(self._separator, self._separator)
        self.has_camera = False
        self.repeated = 0
        self.copies: list[Path] = []
        self.unread: list[str] = []
        self._seen: dict[str, Row] = {}

    def rows(self) -> list[Row]:
        """Understand all lines.

        Raises:
            UserError: One of them says something wrong.
        """
        cells = self._cells()
        number, header = next(cells, (1, []))
        columns = self._columns(header)
        self.has_camera = "camera" in columns
        rows = []
        unread = {i: name.strip() for i, name in enumerate(header) if i not in columns.values() and name.strip()}
        self.unread = list(unread.values())
        words: dict[int, set[str]] = {i: set() for i in unread}
        for number, line in cells:
            for i in unread:
                words[i].add(line[i].strip() if i < len(line) else "")
            place = f"{self._table}, line {number}"
            if len(line) > len(header) and any(cell.strip() for cell in line[len(header) :]):
                raise UserError(
                    f"{place}: {len(line)} columns where the header has {len(header)}; put a path with a "
                    f"{self._separator!r} in it between quotes"
                )
            row = self._row({name: line[i].strip() if i < len(line) else "" for name, i in columns.items()}, place)
            if row is not None:
                rows.append(row)
        if not rows:
            raise UserError(f"{self._table}: lists no picture; add a line for each, or remove the table")
        for i, found in words.items():
            found -= {word for word in found if word.casefold() in _NO_ROLE}
            if "split" not in columns and found and all(map(role_of_word, found)):
                raise UserError(f"{self._table}: the column {unread[i]} holds roles; call it split, or take it out")
        return rows

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """Give the lines that are not blank, with their numbers."""
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._separator, skipinitialspace=True)
        try:
            for line in reader:
                if any(cell.strip() for cell in line):
                    yield reader.line_num + self._skipped, line
        except csv.Error as error:
            place = f"{self._table}, line {reader.line_num + self._skipped}"
            raise UserError(f"{place}: no line of a table ({error}); save it as CSV UTF-8 again") from error

    def _columns(self, header: Sequence[str]) -> dict[str, int]:
        """Find where each column stands."""
        written = [_column_name(cell) for cell in header]
        columns = {}
        for column, names in _COLUMNS.items():
            found = [name for name in names if name in written]
            # the exact name goes before others
            if found[:1] != [column] and len(found) > 1:
                raise UserError(f"{self._table}: {' and '.join(found)} could both be {column}; call one {column}")
            if found and written.count(found[0]) > 1:
                raise UserError(f"{self._table}: two columns {found[0]}; remove or rename one")
            if found:
                columns[column] = written.index(found[0])
        missing = [column for column in _NEEDED if column not in columns]
        if missing:
            raise UserError(
                f"{self._table}: no column {', '.join(missing)} in its first line {','.join(header)!r:.80}; the header "
                "is path,pid[,camera][,split]"
            )
        return columns

    def _row(self, cells: dict[str, str], place: str) -> Row | None:
        """Understand one line; None where it repeats another one, or lists a hidden copy."""
        path = self._path(cells["path"], place)
        parts = PurePosixPath(path).parts
        if parts[-1].startswith("._") or any(part.lower() in _COPIES for part in parts):
            self.copies.append(self._root / path)
            return None
        word = cells.get("split", "")
        subset: Subset | None = "all" if word.casefold() in _NO_ROLE else role_of_word(word)
        if subset is None:
            raise UserError(f"{place}: split {word!r}; use one of {', '.join(ROLES)}")
        written_camera = cells.get("camera", NO_CAMERA)
        camera = _CAMERA.fullmatch(written_camera)
        if not cells["pid"]:
            raise UserError(f"{place}: no pid; give the identity of {path}")
        check_pid(cells["pid"], place)
        row = Row(path, cells["pid"], camera_number(camera[1] if camera else written_camera, place), subset, place)
        first = self._seen.setdefault(posixpath.normpath(path), row)
        if first is row:
            return row
        for what, ours, theirs in (
            ("identity", person_of(row.pid), person_of(first.pid)),
            ("camera", row.camera, first.camera),
            ("split", row.subset, first.subset),
        ):
            if ours != theirs:
                raise UserError(
                    f"{place}: {path} has {what} {ours}, and {theirs} in {first.place}; keep one of the lines"
                )
        self.repeated += 1
        return None

    def _path(self, text: str, place: str) -> str:
        """Find the file of a line, and give its path relative to the root."""
        if not text:
            raise UserError(f"{place}: no path; give the picture's file")
        for form in dict.fromkeys((text, text.replace("\\", "/"), os.path.expanduser(text))):
            for path in dict.fromkeys((form, unicodedata.normalize("NFC", form), unicodedata.normalize("NFD", form))):
                if self._is_file(path):
                    return self._below_root(path, place) if leads_out(path, follow=True) else path
        if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
            raise UserError(f"{place}: {text} is an address; give paths of files relative to {self._root}")
        if os.path.isdir(self._root / text):
            raise UserError(f"{place}: {self._root / text} is a folder; give a line for each picture in it")
        if ntpath.splitdrive(text)[0]:
            raise UserError(f"{place}: {text} is a path of Windows; give paths relative to {self._root}")
        read_as = "" if self._encoding == "utf-8" else f", or save the table as UTF-8 (it was read as {self._encoding})"
        if "\n" in text or "\r" in text:
            raise UserError(f"{place}: the path goes on over lines ({text!r:.80}); close its quotes")
        raise UserError(f"{place}: no file {self._root / text}; correct the path{read_as}")

    def _is_file(self, path: str) -> bool:
        # a NUL in it is no character of a name
        return "\0" not in path and os.path.isfile(self._root / path)

    def _below_root(self, path: str, place: str) -> str:
        real = os.path.realpath(self._root / path)
        # a link that the root's owner made is followed; one that `..` leaves again leads elsewhere
        lexical = [] if os.pardir in path.split("/") else [(os.path.abspath(self._root), path)]
        for root, full in (*lexical, (os.path.realpath(self._root), real)):
            relative = os.path.relpath(full, root)
            if relative.split(os.sep)[0] != os.pardir:
                return PurePosixPath(relative).as_posix()
        raise UserError(
            f"{place}: {path} lies outside --data.root {self._root}; give a --data.root that holds all pictures and "
            "the table, or link the pictures into it"
        )


def _column_name(cell: str) -> str:
    return re.sub(r"[\s_-]+", "_", cell.strip().casefold()).strip("_")


def _separator_of(header: str) -> str:
    """Take the separator by which most columns have names that are known."""
    known = {name for names in _COLUMNS.values() for name in names}

    def understood(separator: str) -> int:
        cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        return len(known & {_column_name(cell) for cell in cells})

    return max(_SEPARATORS, key=understood)
