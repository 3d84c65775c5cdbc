"""Split manifests: one small text file from which an evaluation is exactly repeatable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from intact_fast.config.options import DatasetName, Interpolation
from intact_fast.data.blind import Corruption, check_corruption
from intact_fast.errors import UserError
from intact_fast.file_names import native_name, portable_name
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain, shown

Split = Literal["train", "val_query", "val_gallery", "query", "gallery"]
LRCamera = int | Literal["random"] | None
"""Camera of the LR queries, or one drawn for each identity; None for all queries."""
SPLITS: tuple[Split, ...] = ("train", "val_query", "val_gallery", "query", "gallery")
FORMAT = 1
_LARGEST_NUMBER = 2**62
"""Of people and cameras: what an array holds."""
_LARGEST_R = 10_000
_IN_FILE = {"interpolation": "kernel"}
"""Fields whose name in the file is another one: a split's hash covers it, so it stays what it was."""


@dataclass(frozen=True)
class Entry:
    """One picture and its role.

    Attributes:
        path: Relative to the data root.
        pid: Identity.
        camera: Camera number.
        split: Role.
        is_lr: Whether it goes through G at test time.
        r: Down-sampling rate applied at test time; None leaves the picture as it is (HR, or a
            picture that is natively LR).
        corruption: What makes the corrupted form of an LR query; None where there is no such form.
    """

    path: str
    pid: int
    camera: int
    split: Split
    is_lr: bool
    r: int | None
    corruption: Corruption | None = None


@dataclass(frozen=True)
class Source:
    """A data set that adds training people to a split.

    Attributes:
        dataset: Its name.
        data: Which data that is (`Manifest.data` of its own split).
        pids: The people's numbers there, in the order of theirs here, which go downwards from -2 through all sources.
    """

    dataset: DatasetName
    data: str
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Origin of the entries.

    Attributes:
        dataset: Name of the data set.
        seed: Seed of identity splits and of every r.
        interpolation: Filter of the degradation.
        jpeg_quality: JPEG quality of the degraded pictures, None for none.
        lr_camera: Camera of the LR queries, ``random`` for one of each identity's own, None for all.
        distractor_pid: Identity number of gallery distractors, None for none.
        sources: Further data sets of which people train.
    """

    dataset: DatasetName
    seed: int
    interpolation: Interpolation
    jpeg_quality: int | None
    lr_camera: LRCamera
    distractor_pid: int | None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class _Stamp:
    """What the first line of a file has besides the header."""

    hash: str
    format: int


@dataclass(frozen=True)
class Manifest:
    """A header and its entries; saved as JSON lines, the header (with format and hash) first."""

    header: Header
    entries: tuple[Entry, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over header and entries; the identity of a split."""
        digest = hashlib.sha256()
        for line in (_fields_in_file(self.header), *map(_entry_in_file, self.entries)):
            digest.update(to_json(line, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    @cached_property
    def data(self) -> str:
        """Name of the data that this splits: the data set, and a digest of the pictures of a user's folder.

        A folder with a picture more is other data: nothing says then whether its people have the same numbers.
        """
        own = (e for e in self.entries if not self.header.sources or e.pid >= 0)
        return digest_of_people(self.header.dataset, ((entry.pid, entry.path) for entry in own))

    def split(self, *names: Split) -> list[Entry]:
        """Entries of the named splits, in the manifest's order."""
        return [entry for entry in self.entries if entry.split in names]

    @cached_property
    def labels(self) -> dict[int, int]:
        """Class number of every training identity, held-out ones included, in order of pid.

        Validation identities keep their place, so that a critic trained elsewhere on the whole
        training split still fits.
        """
        pids = sorted({entry.pid for entry in self.split("train", "val_query", "val_gallery")})
        return {pid: label for label, pid in enumerate(pids)}

    def save(self, path: Path) -> None:
        """Write the manifest atomically."""
        first = {"format": FORMAT, "hash": self.hash, **_fields_in_file(self.header)}
        lines = [to_json(line) for line in (first, *map(_entry_in_file, self.entries))]
        with write_atomically(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Manifest:
        """Read a manifest and check its hash.

        Raises:
            UserError: The file is missing, is no manifest, or was changed since it was written.
        """
        if not path.is_file():
            raise UserError(f"manifest {path}: no such file; check --data.manifest")
        try:
            first, *rest = map(from_json, path.read_text(encoding="utf-8").splitlines())
            stamp = read_plain(_Stamp, {name: first.pop(name) for name in ("hash", "format")}, "line 1")
            manifest = Manifest(_header(first), tuple(_entry(line, f"line {i}") for i, line in enumerate(rest, 2)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"manifest {path}: not a split manifest ({error}); build it again") from error
        if stamp.format != FORMAT:
            raise UserError(f"manifest {path}: format {stamp.format}, this version reads {FORMAT}; build it again")
        if stamp.hash != manifest.hash:
            raise UserError(
                f"manifest {path}: its hash does not match its entries, so it was changed after it was written; "
                "build it again"
            )
        return manifest


def _fields_in_file(header: Header) -> dict[str, Any]:
    """Give a header's values under the names that a file has for them."""
    fields = {_IN_FILE.get(name, name): value for name, value in asdict(header).items()}
    # the hash of a split without them is older than they are
    return {name: value for name, value in fields.items() if name != "sources" or value}


def _entry_in_file(entry: Entry) -> dict[str, Any]:
    fields = {**asdict(entry), "path": portable_name(entry.path)}
    # as of sources
    return {name: value for name, value in fields.items() if name != "corruption" or value is not None}


def _entry(line: Any, place: str) -> Entry:
    entry = read_plain(Entry, line, place)
    if "\0" in entry.path or not entry.path:
        raise ValueError(f"{place}: path {entry.path!r:.80} is no name of a file")
    for name in ("pid", "camera"):
        if abs(getattr(entry, name)) > _LARGEST_NUMBER:
            raise ValueError(f"{place}: {name} is {shown(getattr(entry, name))}, which is too large")
    if entry.r is not None and not 1 <= entry.r <= _LARGEST_R:
        raise ValueError(f"{place}: r is {shown(entry.r)}; it should be 1 to {_LARGEST_R:,}")
    if entry.corruption is not None:
        try:
            check_corruption(entry.corruption)
        except ValueError as error:
            raise ValueError(f"{place}.corruption: {error}") from error
    return replace(entry, path=native_name(entry.path))


def _header(line: dict[str, Any]) -> Header:
    names = {written: name for name, written in _IN_FILE.items()}
    header = read_plain(Header, {names.get(written, written): value for written, value in line.items()}, "line 1")
    if header.jpeg_quality is not None and not 1 <= header.jpeg_quality <= 100:
        raise ValueError(f"line 1.jpeg_quality: is {shown(header.jpeg_quality)}; it should be 1 to 100")
    return header


def digest_of_people(dataset: DatasetName, pictures: Iterable[tuple[int, str]]) -> str:
    """Name data: the data set, and a digest of the people and paths of a user's folder."""
    if dataset != "folder":
        return dataset
    lines = sorted(f"{pid} {portable_name(path)}" for pid, path in pictures)
    return f"folder {hashlib.sha256(to_json(lines).encode()).hexdigest()}"


def require_identities(entries: Iterable[Entry], what: str) -> None:
    """Raise UserError when the entries hold fewer than two identities."""
    count = len({entry.pid for entry in entries})
    if count < 2:
        raise UserError(f"--data.root: {count} identities in the {what} split; at least 2 are needed")
