"""A split in words: who is in which role."""

from __future__ import annotations

from collections.abc import Sequence

from intact_fast.data.manifest import Entry, Manifest, Split

_ROLES: tuple[tuple[str, tuple[Split, ...]], ...] = (
    ("training", ("train",)),
    ("validation", ("val_query", "val_gallery")),
    ("queries", ("query",)),
    ("gallery", ("gallery",)),
)
_CAMERAS_SHOWN = 8


def describe_split(manifest: Manifest) -> str:
    """Count people, pictures and cameras of each role, in one line.

    Distractors count as pictures, not as people.
    """
    parts = []
    for name, splits in _ROLES:
        entries = manifest.split(*splits)
        if entries:
            parts.append(f"{name}: {_counts(entries, manifest.header.distractor_pid)}")
    return "; ".join(parts)


def _counts(entries: Sequence[Entry], distractor_pid: int | None) -> str:
    people = len({entry.pid for entry in entries} - {distractor_pid})
    cameras = sorted({entry.camera for entry in entries})
    shown = ", ".join(map(str, cameras[:_CAMERAS_SHOWN]))
    more = ", …" if len(cameras) > _CAMERAS_SHOWN else ""
    return (
        f"{people:,} {'person' if people == 1 else 'people'}, "
        f"{len(entries):,} {'picture' if len(entries) == 1 else 'pictures'}, "
        f"{len(cameras)} {'camera' if len(cameras) == 1 else 'cameras'} ({shown}{more})"
    )
