"""What a gallery holds of a picture: its columns, and where their values come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.errors import UserError, warn
from intact_fast.file_names import native_name, portable_name
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.gallery.engine import csv, engine_errors, pa, pq

GIVEN = ("camera", "time", "track", "person")
"""Columns that a name, a table or a program gives."""
TEXT = ("camera", "track", "person")
"""Those of them that are text; names of cameras are no numbers everywhere."""
MEASURED = ("width", "height", "hash")
"""Columns that are read off a picture's file."""
STAMP = ("file_bytes", "file_time")
"""By which a file that was replaced is seen: its size, and its time of change in nanoseconds."""
SHOWN = (*GIVEN, *MEASURED)
"""Columns that are told with a match."""

Values = Mapping[str, Any]
"""Values of some of the columns of one picture."""

_GROUPS = {**{name: name for name in GIVEN}, "pid": "person"}
_COMPACT_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)[T_ -]?(\d\d)(\d\d)(\d\d)(?:[._-]?(\d{1,6}))?")
_NUMBER = re.compile(r"\d{9,10}(?:\.\d+)?")


def make_schema(width: int, metadata: Mapping[str, str] | None = None) -> Any:
    """Give the Arrow schema of a gallery of features of that width."""
    text = [(name, pa.string()) for name in TEXT]
    fields = [
        pa.field("path", pa.string(), nullable=False),
        *(pa.field(*one) for one in (text[0], ("time", pa.timestamp("us")), *text[1:])),
        *(pa.field(name, pa.int32()) for name in ("width", "height")),
        pa.field("hash", pa.string()),
        *(pa.field(name, pa.int64()) for name in STAMP),
        pa.field("feature", pa.list_(pa.float32(), width), nullable=False),
    ]
    return pa.schema(fields, metadata=metadata)


def make_rows(paths: Sequence[str], features: Tensor, values: Sequence[Values]) -> Any:
    """Give rows as an Arrow table.

    Args:
        paths: Relative to the gallery, as the operating system names them.
        features: N×D; they are brought to length 1.
        values: Of the other columns, picture by picture; what is missing is null.

    Raises:
        UserError: A feature holds NaN or infinity.
    """
    schema = make_schema(features.shape[1])
    unit = F.normalize(require_numbers(features.detach().to("cpu", torch.float32), paths)).contiguous()
    columns = [pa.array([one.get(name) for one in values], schema.field(name).type) for name in schema.names[1:-1]]
    flat = pa.array(unit.flatten().numpy())
    stored = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    return pa.table([pa.array(map(stored_name, paths), pa.string()), *columns, stored], schema=schema)


def stored_name(path: str) -> str:
    r"""Give a path as text: bytes that are no UTF-8 become ``\\xff``, and then a backslash two."""
    name = portable_name(path)
    if "\\" not in name and not any(0xDC80 <= ord(character) <= 0xDCFF for character in name):
        return name
    content = name.replace("\\", "\\\\").encode("utf-8", "surrogateescape")
    return content.decode("utf-8", "backslashreplace")


def file_name(stored: str) -> str:
    """Give the path that `stored_name` wrote, as the operating system opens it."""
    if "\\" not in stored:
        return native_name(stored)
    pieces = re.split(r"(\\\\|\\x[0-9a-f]{2})", stored)
    content = b"".join(
        b"\\" if piece == "\\\\" else bytes.fromhex(piece[2:]) if piece.startswith("\\x") else piece.encode()
        for piece in pieces
    )
    return native_name(content.decode("utf-8", "surrogateescape"))


def time_of(value: Any, where: str) -> datetime | None:
    """Read a time: ISO 8601, ``20240131_235959``, or seconds since 1970; the result is UTC without a zone.

    Args:
        value: Text, a number, a datetime or None.
        where: What it stands in, for the error.

    Raises:
        UserError: It is none of these.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, int | float) or _NUMBER.fullmatch(value):
            found = datetime.fromtimestamp(float(value), UTC)
        elif compact := _COMPACT_TIME.fullmatch(value):
            found = datetime.strptime("".join(compact.groups("0")[:6]), "%Y%m%d%H%M%S")
            found += timedelta(seconds=float(f"0.{compact[7] or 0}"))
        else:
            found = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(
            f"{where}: time {value!r} is neither ISO 8601, nor like 20240131_235959, nor seconds since 1970; correct it"
        ) from error
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


class ColumnSource(Protocol):
    """Where the columns of `GIVEN` come from."""

    def values_of(self, path: str) -> Values:
        """Give the columns of a picture by its path relative to the gallery; empty where nothing is known of it."""
        ...


@dataclass
class PatternColumns:
    """Columns out of names: named groups of a regular expression.

    It is searched in the path below the gallery where it holds a slash, else in the file name.
    """

    pattern: re.Pattern[str]

    def values_of(self, path: str) -> Values:  # noqa: D102
        match = self.pattern.search(path if "/" in self.pattern.pattern else path.rpartition("/")[2])
        if match is None:
            return {}
        found = {_GROUPS[name]: value for name, value in match.groupdict().items()}
        if "time" in found:
            found["time"] = time_of(found["time"], path)
        return found


@dataclass
class TableColumns:
    """Columns out of a table with a row for each path."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values_of(self, path: str) -> Values:  # noqa: D102
        return self.rows.get(portable_name(path), {})


def read_pattern(text: str, option: str = "--columns-pattern") -> PatternColumns:
    """Compile a pattern of names.

    Raises:
        UserError: It is no regular expression, or has no group of a column, or another one.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"{option} {text!r}: no regular expression ({error}); correct it") from error
    named = pattern.groupindex.keys()
    if not named or named - _GROUPS.keys():
        unknown = f"; it has {', '.join(sorted(named - _GROUPS.keys()))}" if named else ""
        raise UserError(f"{option} {text!r}: needs named groups of {', '.join(GIVEN)}, as in (?P<camera>\\d+){unknown}")
    return PatternColumns(pattern)


def read_table(file: Path, option: str = "--columns") -> TableColumns:
    """Read a CSV or Parquet file with the column ``path``, relative to the gallery, and some of `GIVEN`.

    Raises:
        UserError: It cannot be read, or lacks these columns.
    """
    if not file.is_file():
        raise UserError(f"{option} {file}: no such file")
    with engine_errors(
        f"{option} {file}", f"give a CSV or Parquet file with a column path, and some of {', '.join(GIVEN)}"
    ):
        if file.suffix.lower() == ".parquet":
            table = pq.read_table(file)
        else:
            # a camera 007 stays one
            texts = csv.ConvertOptions(column_types=dict.fromkeys(("path", "time", *TEXT), pa.string()))
            table = csv.read_csv(file, convert_options=texts)
    given = [name for name in GIVEN if name in table.column_names]
    if "path" not in table.column_names or not given:
        raise UserError(f"{option} {file}: needs a column path, and some of {', '.join(GIVEN)}; add them")
    rows: dict[str, dict[str, Any]] = {}
    for row in table.select(["path", *given]).to_pylist():
        path = str(row.pop("path"))
        values = {name: None if value in (None, "") else str(value) for name, value in row.items() if name != "time"}
        if "time" in row:
            values["time"] = time_of(row["time"], f"{option} {file}: {path}")  # type: ignore[assignment]
        if path in rows:
            raise UserError(f"{option} {file}: {path} stands there twice; remove one")
        rows[path] = values
    return TableColumns(rows)


def changed_columns(table: Any, source: ColumnSource) -> list[dict[str, Any]]:
    """Find the pictures of which a source says something else than is known.

    Args:
        table: Arrow table of ``path`` and `GIVEN`.
        source: Says what is to be known; columns that it does not name stay.

    Returns:
        Whole rows of the table as they are to be.
    """
    changed = []
    for row in table.to_pylist():
        values = source.values_of(file_name(row["path"]))
        if any(row[name] != value for name, value in values.items()):
            changed.append({**row, **values})
    return changed


def warn_unknown(source: ColumnSource, paths: Sequence[str], what: str) -> None:
    """Say how many pictures a source knows nothing of."""
    unknown = [path for path in paths if not source.values_of(path)]
    if unknown:
        warn(f"{what}: gives nothing for {len(unknown):,} of {len(paths):,} pictures, such as {unknown[0]}")
