"""A gallery in a database of its own: a folder `x.lance` of columns and features, written in whole commits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from intact_fast.errors import UserError, tell
from intact_fast.files import one_at_a_time
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain
from intact_fast.serving.gallery.columns import STAMP, TEXT, Values, make_rows, make_schema, stored_name
from intact_fast.serving.gallery.engine import engine_errors, lance, pa
from intact_fast.serving.gallery.in_place import Part, parts_of

KEY = "intact_fast"
"""Name of the entry in a table's metadata that says what made it."""
SUFFIX = ".lance"

_VERSION = 1
_FORMAT = "2.0"
"""Of Lance's files: plain numbers, which are read at twice the speed of later formats' and at any row."""
_UNREADABLE = "unreadable.lance"
_FEW_ROWS = 5000
"""Parts of a table below this are joined."""
_MANY_PARTS = 32
_KEPT_VERSIONS = timedelta(hours=1)
"""A search that began on an older state of the table has ended by then."""
_NAMES_A_TIME = 2000
_WIDEST = 2**16
"""Numbers of a feature."""


@dataclass(frozen=True)
class Identity:
    """What features depend on besides the pictures.

    Attributes:
        model: File of the model, for messages alone.
        digest: Of the model's content.
        settings: How pictures are handled (mode, lr_height, precision).
    """

    model: str
    digest: str
    settings: str

    @classmethod
    def of_files(cls, files: Sequence[Path], settings: str) -> Self:
        """Name the model of some files by their content."""
        digests = []
        for file in files:
            with file.open("rb") as content:
                digests.append(hashlib.file_digest(content, "sha256").hexdigest())
        return cls(" and ".join(map(str, files)), " ".join(digests), settings)

    def made_the_same(self, other: Identity) -> bool:
        """Say whether features of both compare; the file may lie elsewhere."""
        return (self.digest, self.settings) == (other.digest, other.settings)

    def to_text(self) -> str:
        """Give it as a table's metadata hold it."""
        return to_json({"version": _VERSION, **asdict(self)})

    @classmethod
    def from_text(cls, text: bytes, what: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            UserError: Another version wrote it, or something else.
        """
        try:
            found = from_json(text)
            if isinstance(found, dict) and found.pop("version", None) != _VERSION:
                raise UserError(f"{what}: of another version of intact_fast; give another name, or --rebuild")
            return read_plain(cls, found)
        except ValueError as error:
            raise UserError(
                f"{what}: what it says of its model is broken ({error}); give another name, or --rebuild"
            ) from error

    def __str__(self) -> str:
        return f"{self.model} ({self.digest[:12]}), {self.settings}"


class Gallery:
    """Columns and features of pictures.

    Every call that writes commits as a whole: what it returned from is there after any crash.

    Args:
        place: Folder ``x.lance``, or an address of an object store (``s3://bucket/x.lance``).
        dataset: Its table.
        identity: What made its features.
    """

    def __init__(self, place: str, dataset: Any, identity: Identity) -> None:
        self.place = place
        self.dataset = dataset
        self.identity = identity
        self._parts: tuple[int, tuple[Part, ...]] | None = None

    @classmethod
    def open(
        cls, place: str | Path, identity: Identity | None = None, width: int = 512, *, rebuild: bool = False
    ) -> Self:
        """Open a gallery, or begin one where there is nothing.

        Args:
            place: Where it is.
            identity: What makes the features that are searched for; None takes any, and needs an existing gallery.
            width: Numbers of a feature, of a new gallery.
            rebuild: Empty a gallery that another model made.

        Raises:
            UserError: It is something else or of another model, or cannot be read.
        """
        place = str(place)
        what = f"--index {place}"
        check_place(place)
        dataset = _find(place, what)
        if dataset is None:
            if identity is None:
                raise UserError(f"{what}: no such gallery; name an existing one, or a model that makes it")
            return cls(place, _write(make_schema(width, {KEY: identity.to_text()}), place, what, "create"), identity)
        text = (dataset.schema.metadata or {}).get(KEY.encode())
        if text is None:
            raise UserError(f"{what}: a Lance table, but none of ours; give another name")
        if rebuild and identity is not None:
            _forget_unreadable(place)
            return cls(place, _write(make_schema(width, {KEY: identity.to_text()}), place, what, "overwrite"), identity)
        _check_columns(dataset.schema, what)
        made = Identity.from_text(text, what)
        if identity is not None and not made.made_the_same(identity):
            raise UserError(
                f"{what}: made with {made}, and this is {identity}; use that model and --mode, give another name, or "
                "--rebuild to compute it again"
            )
        return cls(place, dataset, made)

    def __len__(self) -> int:
        return int(self.dataset.count_rows())

    @property
    def width(self) -> int:
        """Numbers of a feature."""
        return int(self.dataset.schema.field("feature").type.list_size)

    def parts(self) -> tuple[Part, ...]:
        """Parts of the table as it is now, looked up once for each version of it."""
        version = self.dataset.version
        if self._parts is None or self._parts[0] != version:
            self._parts = version, parts_of(self.place, self.dataset, self.width)
        return self._parts[1]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes on this machine from bringing the same gallery up to date meanwhile."""
        if "://" in self.place:
            yield
            return
        with one_at_a_time(Path(self.place), lambda: tell(f"--index {self.place}: waits for another process")):
            self.dataset.checkout_latest()
            yield

    def add(self, paths: Sequence[str], features: Tensor, values: Sequence[Values] | None = None) -> None:
        """Add pictures, or replace those of the same path, in one commit.

        Args:
            paths: Relative to the gallery's folder, each once.
            features: N×D on any device; they are kept at length 1.
            values: Other columns of each picture: camera, time, track, person, width, height, hash.
        """
        self.merge(make_rows(paths, features, values or [{}] * len(paths)))

    def append(self, rows: Any) -> None:
        """Add rows of `make_rows` whose paths are not there yet."""
        with engine_errors(f"--index {self.place}"):
            self.dataset = _append(rows, self.dataset)

    def merge(self, rows: Any) -> None:
        """Add rows, or replace those of the same path; columns that the rows lack stay."""
        with engine_errors(f"--index {self.place}"):
            merging = self.dataset.merge_insert("path").when_matched_update_all()
            if set(rows.column_names) == set(self.dataset.schema.names):
                merging = merging.when_not_matched_insert_all()
            merging.execute(rows)
            self.dataset.checkout_latest()

    def delete(self, where: str) -> None:
        """Delete the pictures of an SQL condition."""
        with engine_errors(f"--where {where}"):
            self.dataset.delete(where)

    def delete_paths(self, paths: Sequence[str]) -> None:
        """Delete pictures by their stored names."""
        for begin in range(0, len(paths), _NAMES_A_TIME):
            named = ", ".join(map(sql_text, paths[begin : begin + _NAMES_A_TIME]))
            self.delete(f"path IN ({named})")

    def table(self, columns: Sequence[str], where: str | None = None) -> Any:
        """Read columns of all pictures, or of those of an SQL condition, as an Arrow table."""
        with engine_errors(f"--index {self.place}" if where is None else f"--where {where}"):
            return self.dataset.scanner(columns=list(columns), filter=where).to_table()

    def tidy(self) -> None:
        """Join many small parts, as days of small additions leave them, and forget states of an hour ago."""
        with engine_errors(f"--index {self.place}"):
            sizes = [fragment.count_rows() for fragment in self.dataset.get_fragments()]
            if sum(size < _FEW_ROWS for size in sizes) > _MANY_PARTS:
                self.dataset.optimize.compact_files(target_rows_per_fragment=_FEW_ROWS)
                self.dataset.checkout_latest()
            self.dataset.cleanup_old_versions(older_than=_KEPT_VERSIONS)

    def unreadable(self) -> Any:
        """Files that could not be decoded, as an Arrow table of path, stamp and reason."""
        found = _find(_beside(self.place), f"--index {self.place}")
        return _no_unreadable().empty_table() if found is None else found.to_table()

    def remember_unreadable(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep which files cannot be decoded, instead of those that were known before."""
        table = pa.Table.from_pylist(list(rows), schema=_no_unreadable())
        if len(table) or _find(_beside(self.place), f"--index {self.place}") is not None:
            place = _beside(self.place)
            with engine_errors(f"--index {self.place}"):
                lance.write_dataset(table, place, mode="overwrite").cleanup_old_versions(older_than=_KEPT_VERSIONS)

    def unreadable_row(self, name: str, stamp: tuple[int, int], reason: str) -> dict[str, Any]:
        """Describe a file for `remember_unreadable`."""
        return {"path": stored_name(name), **dict(zip(STAMP, stamp, strict=True)), "reason": stored_name(reason)}


def sql_text(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"


def is_text(column: str) -> bool:
    """Say whether a column holds text."""
    return column in (*TEXT, "path", "hash")


def check_place(place: str) -> None:
    """Refuse a name that no gallery has, or where something else is.

    Raises:
        UserError: It is so; the message names a place that is free for one.
    """
    what = f"--index {place}"
    path = Path(place)
    if "://" in place:
        return
    folder = path.with_suffix(SUFFIX)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(f"{what}: Lance takes names in UTF-8 alone; give the index another place") from None
    if path.is_file():
        raise UserError(
            f"{what}: a file, which stays as it is; an index is a folder now: give --index {folder}, which is made anew"
        )
    if path.suffix != SUFFIX:
        raise UserError(f"{what}: an index is a folder that ends in {SUFFIX}; name it {folder}")
    if path.is_dir() and not (path / "_versions").is_dir() and any(path.iterdir()):
        raise UserError(f"{what}: a folder of other files; give another name")


def _find(place: str, what: str) -> Any | None:
    if "://" not in place and not (Path(place) / "_versions").is_dir():
        return None
    try:
        with engine_errors(what):
            return lance.dataset(place)
    except UserError as error:
        if "was not found" in str(error):
            return None
        raise UserError(f"{error}; it is broken or cannot be read, give another name") from error


def _check_columns(schema: Any, what: str) -> None:
    """Raise UserError unless a table has the columns that this version writes, in their types."""
    kind = schema.field("feature").type if "feature" in schema.names else None
    width = getattr(kind, "list_size", 0)
    if not 0 < width <= _WIDEST or {f.name: f.type for f in schema} != {f.name: f.type for f in make_schema(width)}:
        raise UserError(f"{what}: its columns are not those of a gallery; give another name, or --rebuild")


def _write(schema: Any, place: str, what: str, mode: str) -> Any:
    with engine_errors(what):
        if "://" not in place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        return lance.write_dataset(schema.empty_table(), place, mode=mode, data_storage_version=_FORMAT)


def _append(rows: Any, dataset: Any) -> Any:
    return lance.write_dataset(rows, dataset, mode="append", data_storage_version=_FORMAT)


def _beside(place: str) -> str:
    return f"{place}/{_UNREADABLE}"


def _no_unreadable() -> Any:
    stamps = [(name, pa.int64()) for name in STAMP]
    return pa.schema([("path", pa.string()), *stamps, ("reason", pa.string())])


def _forget_unreadable(place: str) -> None:
    if _find(_beside(place), f"--index {place}") is not None:
        lance.write_dataset(_no_unreadable().empty_table(), _beside(place), mode="overwrite")
