"""Byte-identical pictures that a split takes for different people, or for training and test."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from intact_fast.data.manifest import Entry, Manifest
from intact_fast.data.progress import Progress, no_progress

_TEST = ("query", "gallery")
_READ = 2**14
"""Bytes of a file that tell most pictures of equal size apart."""
_NAMED = 20


@dataclass(frozen=True)
class Copies:
    """Groups of entries whose files hold the same bytes.

    Attributes:
        of_several_people: Those under two identities or more.
        on_both_sides: Those of one person that train and are tested.
        found_by_themselves: Those of one person that are query and gallery pictures, and match each other.
    """

    of_several_people: list[list[Entry]]
    on_both_sides: list[list[Entry]]
    found_by_themselves: list[list[Entry]]

    def warnings(self, name_all: bool) -> list[str]:
        """Say how many there are.

        Args:
            name_all: Name the files, too, instead of the first two.
        """
        return [
            *_say(self.of_several_people, "have several identities; keep each under the right one", name_all),
            *_say(self.on_both_sides, "are in training and in test pictures; keep each on one side", name_all),
            *_say(
                self.found_by_themselves,
                "are queries and gallery pictures that match, so that each query finds itself; keep one, under its "
                "right camera",
                name_all,
            ),
        ]


def _say(groups: Sequence[Sequence[Entry]], what: str, name_all: bool) -> list[str]:
    if not groups:
        return []
    shown = groups[: _NAMED if name_all else 1]
    names = "; ".join(" = ".join(f"{entry.path} (identity {entry.pid})" for entry in group) for group in shown)
    more = f"; and {len(groups) - len(shown)} more" if len(groups) > len(shown) else ""
    return [f"{len(groups):,} pictures stand there as byte-identical copies that {what}: {names}{more}"]


def find_copies(manifest: Manifest, root: Path, progress: Progress = no_progress) -> Copies:
    """Compare the files of a split; only those of equal size are read.

    A file that cannot be read is left to whoever decodes it.

    Args:
        manifest: The split.
        root: Folder that its paths are relative to.
        progress: Told how many pictures are compared.
    """
    by_size: dict[int, list[Entry]] = defaultdict(list)
    # where there is one camera, matches in it count or there is nothing to evaluate
    across = len({entry.camera for entry in manifest.entries if entry.split in _TEST}) > 1
    with progress("comparing pictures", len(manifest.entries)) as advance:
        for entry in manifest.entries:
            by_size[_size(root / entry.path)].append(entry)
        several: list[list[Entry]] = []
        both: list[list[Entry]] = []
        itself: list[list[Entry]] = []
        for size, entries in by_size.items():
            advance(len(entries))
            if size < 1 or not (_people(entries) > 1 or _is_on_both_sides(entries) or _finds_itself(entries, across)):
                continue
            for group in _equal(entries, root):
                if _people(group) > 1:
                    several.append(group)
                elif _is_on_both_sides(group):
                    both.append(group)
                elif _finds_itself(group, across):
                    itself.append(group)
    return Copies(several, both, itself)


def _equal(entries: Sequence[Entry], root: Path) -> Iterable[list[Entry]]:
    """Group entries by what their files hold: by the beginnings first, and by the whole where these agree."""
    groups = [list(entries)]
    for limit in (_READ, -1):
        finer: list[list[Entry]] = []
        for group in groups:
            if len(group) > 1:
                digests: dict[bytes, list[Entry]] = defaultdict(list)
                for entry in group:
                    digests[_digest(root / entry.path, limit)].append(entry)
                digests.pop(b"", None)
                finer += digests.values()
        groups = finer
    return [group for group in groups if len(group) > 1]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path, limit: int) -> bytes:
    """Hash a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.blake2b(file.read(limit)).digest()
    except OSError:
        return b""


def _people(entries: Iterable[Entry]) -> int:
    return len({entry.pid for entry in entries})


def _is_on_both_sides(entries: Iterable[Entry]) -> bool:
    return len({entry.split in _TEST for entry in entries}) > 1


def _finds_itself(entries: Iterable[Entry], across: bool) -> bool:
    """Whether a query among entries of one person has a match among them."""
    entries = list(entries)
    queries = [entry for entry in entries if entry.split == "query"]
    return any(
        one.split == "gallery" and (one.camera != query.camera or not across) for query in queries for one in entries
    )
