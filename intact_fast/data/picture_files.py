"""What is a picture file: one list of formats and one walk through folders, for every command and reader."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from intact_fast.errors import UserError

STILL_FORMATS = frozenset(
    (
        *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL"),
        *("MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP"),
    )
)
"""Pillow's names of formats that hold one picture of pixels; of a GIF or TIFF with several the first counts.
Films, documents, vector graphics, icons and formats of single sciences are no crops of people."""
_NOT_STILL = frozenset({".avifs", ".heics", ".heifs", ".pfm"})
"""Suffixes of those formats for films, and for pixels of no known range."""
_SYSTEM_NAMES = frozenset(
    {"@eadir", "__macosx", "thumbs.db", "desktop.ini", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "@tmp"}
)
"""What file servers and systems put beside the files of a user, in small letters."""
_SHOWN = 3


@cache
def picture_suffixes() -> frozenset[str]:
    """Name the suffixes of picture files, in small letters with their dot: those of `STILL_FORMATS` that open here.

    HEIF counts where ``pillow-heif`` is installed.
    """
    # without it the remedy is told where such a file is found
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    extensions = Image.registered_extensions()
    # Pillow opens an MPO as the JPEG that it begins with
    opened = Image.OPEN.keys() | {"MPO"}
    named = {suffix for suffix, name in extensions.items() if name in STILL_FORMATS and name in opened}
    return frozenset(named - _NOT_STILL)


@cache
def still_formats() -> tuple[str, ...]:
    """Name those of `STILL_FORMATS` that open here, in Pillow's own order, which tries the most definite ones first."""
    picture_suffixes()
    return tuple(name for name in Image.ID if name in STILL_FORMATS)


def is_hidden(part: str) -> bool:
    """Say whether a file or folder name belongs to a system or a program: ``.…``, ``@eaDir``, ``__MACOSX``."""
    return part.startswith(".") or part.lower() in _SYSTEM_NAMES


@dataclass(frozen=True)
class LeftOut:
    """Files that are no pictures of the user's.

    Attributes:
        hidden: Files that are hidden, or below a hidden folder.
        not_files: Folders, links that lead nowhere, and devices that are named as pictures.
        others: Files that are not named as pictures.
    """

    hidden: tuple[Path, ...] = ()
    not_files: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()

    def __add__(self, more: LeftOut) -> LeftOut:
        """Join what two folders left out."""
        return LeftOut(self.hidden + more.hidden, self.not_files + more.not_files, self.others + more.others)

    def __len__(self) -> int:
        """Count them."""
        return len(self.hidden) + len(self.not_files) + len(self.others)

    def without(self, paths: Set[Path]) -> LeftOut:
        """Leave files out of the others, because they are known."""
        return LeftOut(self.hidden, self.not_files, tuple(path for path in self.others if path not in paths))

    def describe(self) -> str:
        """Give the counts, with the first names; empty where nothing was left out."""
        suffixes = Counter(path.suffix.lower() or path.name for path in self.others)
        parts = [
            _counted(len(self.hidden), "hidden files", (path.name for path in self.hidden)),
            _counted(len(self.not_files), "folders, devices or dead links named as pictures", map(str, self.not_files)),
            _counted(len(self.others), "files that are no pictures", sorted(suffixes)),
        ]
        if suffixes.keys() & {".heic", ".heif", ".hif"}:
            parts.append("pip install pillow-heif reads .heic")
        return "; ".join(part for part in parts if part)


def _counted(count: int, what: str, names: Iterable[str]) -> str:
    if not count:
        return ""
    found = list(names)
    return f"{count:,} {what} ({', '.join(found[:_SHOWN])}{', …' if len(found) > _SHOWN else ''})"


@dataclass(frozen=True)
class Listing:
    """Pictures of a folder in sorted order, and what stands beside them."""

    pictures: list[Path]
    left_out: LeftOut

    @property
    def other_files(self) -> int:
        """How many files were left out."""
        return len(self.left_out)


def list_pictures(folder: Path, recursive: bool = False) -> Listing:
    """List the picture files of a folder, by their names.

    Links to files and folders are followed. A folder is not entered again below itself, and below a link each folder
    is entered once, so that links in circles come to an end.

    Args:
        folder: Where to look. It may be hidden itself.
        recursive: Look in the folders below, too.

    Raises:
        UserError: A folder cannot be read.
    """
    suffixes = picture_suffixes()
    pictures: list[Path] = []
    hidden: list[Path] = []
    not_files: list[Path] = []
    others: list[Path] = []
    for path, is_file, is_visible in _entries(folder, recursive):
        is_named = path.suffix.lower() in suffixes
        if not is_visible:
            hidden.append(path)
        elif is_named:
            (pictures if is_file else not_files).append(path)
        elif is_file:
            others.append(path)
    return Listing(sorted(pictures), LeftOut(tuple(sorted(hidden)), tuple(sorted(not_files)), tuple(sorted(others))))


def _entries(folder: Path, recursive: bool) -> Iterator[tuple[Path, bool, bool]]:
    """Give files, and whatever else is named as a picture could be: whether it is a file, whether it is visible."""
    # a folder, whether it is visible, the real folders that are not entered again, whether a link led to it
    waiting: list[tuple[Path, bool, set[str], bool]] = [(folder, True, {os.path.realpath(folder)}, False)]
    while waiting:
        current, current_visible, entered, is_linked = waiting.pop()
        for entry in _scan(current):
            path = current / entry.name
            is_visible = current_visible and not is_hidden(entry.name)
            is_link = entry.is_symlink()
            # os.path takes a link to itself for nothing at all, where an entry raises
            is_folder = os.path.isdir(path) if is_link else entry.is_dir()
            is_file = os.path.isfile(path) if is_link else entry.is_file()
            if is_file or is_visible:
                yield path, is_file, is_visible
            if not is_folder or not recursive or (is_link and not is_visible):
                continue
            real = os.path.realpath(path)
            if real not in entered:
                # below a link all folders share one set; without it links across would multiply
                inner = entered if is_linked else entered | {real}
                inner.add(real)
                waiting.append((path, is_visible, inner, is_linked or is_link))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror or error}); allow reading it, or move it elsewhere"
        ) from error
