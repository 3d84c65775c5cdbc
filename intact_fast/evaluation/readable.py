"""Test pictures that can be read, where an evaluation may leave the others out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intact_fast.data.loader import readable_images
from intact_fast.data.manifest import Entry, Manifest, Split
from intact_fast.errors import UserError
from intact_fast.evaluation.sharding import SINGLE_PROCESS, Processes
from intact_fast.files import stamp

OPTION = "--evaluation.skip-corrupt"
_known: dict[tuple[Path, tuple[int, int]], bool] = {}
"""What was found of files that have not changed since: a training validates often."""


@dataclass(frozen=True)
class Unreadable:
    """Pictures that an evaluation leaves out, by their names in the manifest.

    Attributes:
        queries: Of the queries.
        gallery: Of the gallery.
    """

    queries: tuple[str, ...] = ()
    gallery: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count them."""
        return len(self.queries) + len(self.gallery)


def readable_entries(
    entries: Sequence[Entry], root: Path, threads: int, processes: Processes = SINGLE_PROCESS
) -> list[Entry]:
    """Keep the entries whose picture can be read, as `are_readable` says."""
    found = are_readable([root / entry.path for entry in entries], threads, processes)
    return [entry for entry, is_good in zip(entries, found, strict=True) if is_good]


def are_readable(paths: Sequence[Path], threads: int, processes: Processes = SINGLE_PROCESS) -> list[bool]:
    """Tell which pictures can be read. Each is decoded once, by one process, and all get the same answer."""
    shares = processes.share(lambda: _are_readable(paths[processes.rank :: processes.world_size], threads))
    return [shares[i % len(shares)][i // len(shares)] for i in range(len(paths))]


def leave_out_unreadable(
    manifest: Manifest, root: Path, threads: int, validation: bool = False, processes: Processes = SINGLE_PROCESS
) -> tuple[Manifest, Unreadable]:
    """Take the pictures that cannot be read out of the queries and the gallery of a split.

    Args:
        manifest: The split; its hash is no longer that of the result.
        root: Folder that its paths are relative to.
        threads: Threads that read.
        validation: Look at the held-out training identities instead of the test split.
        processes: All of them call this and share the pictures.

    Raises:
        UserError: No query or no gallery picture can be read.
    """
    names: tuple[Split, Split] = ("val_query", "val_gallery") if validation else ("query", "gallery")
    entries = manifest.split(*names)
    good = set(readable_entries(entries, root, threads, processes))
    bad = [entry for entry in entries if entry not in good]
    for name in names:
        if all(entry.split != name for entry in good) and any(entry.split == name for entry in bad):
            raise UserError(f"{OPTION}: none of the {name} pictures can be read; check --data.root {root}")
    queries, gallery = (tuple(entry.path for entry in bad if entry.split == name) for name in names)
    kept = tuple(entry for entry in manifest.entries if entry.split not in names or entry in good)
    return replace(manifest, entries=kept), Unreadable(queries, gallery)


def _are_readable(paths: Sequence[Path], threads: int) -> list[bool]:
    stamped: list[tuple[Path, tuple[int, int]] | None] = []
    for path in paths:
        try:
            stamped.append((path.absolute(), stamp(path)))
        except OSError:
            stamped.append(None)
    fresh = [key for key in stamped if key is not None and key not in _known]
    _known.update(zip(fresh, readable_images([path for path, _ in fresh], threads), strict=True))
    return [key is not None and _known[key] for key in stamped]
