"""What is a right match of a query, and how many queries have one: told before hours of work, not after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intact_fast.config.options import SameCamera
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.errors import UserError

_JUNK_PID = -1
_CAMERAS_SHOWN = 8
_NO_CAMERA_IDS = "where the pictures have no camera ids, give --evaluation.same-camera keep"


def camids_for_matching(
    queries: Sequence[Entry], gallery: Sequence[Entry], same_camera: SameCamera
) -> tuple[np.ndarray, np.ndarray]:
    """Give each picture a number, so that the same person under the same number takes no part in a ranking.

    ``drop`` numbers by camera, as every protocol of the field. ``keep`` numbers by file: a query is never its own
    match, and all other pictures of its person are.

    Returns:
        Q int64 and G int64.
    """
    if same_camera == "drop":
        cameras = (np.array([entry.camera for entry in entries], np.int64) for entries in (queries, gallery))
        return next(cameras), next(cameras)
    numbers: dict[str, int] = {}
    files = (
        np.array([numbers.setdefault(entry.path, len(numbers)) for entry in entries], np.int64)
        for entries in (queries, gallery)
    )
    return next(files), next(files)


@dataclass(frozen=True)
class Side:
    """Size of the queries or of the gallery.

    Attributes:
        pictures: How many.
        people: Whose they are; distractors are nobody.
        cameras: Of which they are, ascending.
    """

    pictures: int
    people: int
    cameras: tuple[int, ...]

    def describe(self) -> str:
        """Give the counts in words."""
        people = f"{self.people:,} {'person' if self.people == 1 else 'people'}"
        shown = ", ".join(map(str, self.cameras[:_CAMERAS_SHOWN]))
        more = ", …" if len(self.cameras) > _CAMERAS_SHOWN else ""
        return f"of {people} in {'camera' if len(self.cameras) == 1 else 'cameras'} {shown}{more}"


@dataclass(frozen=True)
class Matches:
    """How many queries have a right match in the gallery.

    Attributes:
        dataset: Name of the data set.
        same_camera: The rule.
        queries: Size of one side.
        gallery: Size of the other.
        found: Queries with a match under the rule.
        in_any_camera: Queries whose person has another picture in the gallery, of whichever camera.
    """

    dataset: str
    same_camera: SameCamera
    queries: Side
    gallery: Side
    found: int
    in_any_camera: int

    @property
    def missing(self) -> int:
        """Queries that cannot be scored."""
        return self.queries.pictures - self.found

    def describe(self) -> str:
        """Give all counts in one line."""
        return (
            f"{self.queries.pictures:,} queries {self.queries.describe()}; gallery: {self.gallery.pictures:,} pictures "
            f"{self.gallery.describe()}; {self.outcome()}"
        )

    def outcome(self) -> str:
        """Say how many queries have a match."""
        return f"queries with a match{self._where()}: {self.found:,}, without: {self.missing:,}"

    def complaint(self) -> str | None:
        """Say why nothing can be ranked, and what to do; None where something can be."""
        if self.found:
            return None
        if not self.in_any_camera:
            return (
                f"{self.dataset}: no query's person is in the gallery ({self.describe()}); give a person the same "
                "identity in queries and gallery"
            )
        return (
            f"{self.dataset}: no query has a match in another camera ({self.describe()}); correct the camera numbers, "
            f"or, {_NO_CAMERA_IDS}"
        )

    def warning(self) -> str | None:
        """Say how many queries are not scored; None where all are."""
        if not self.missing:
            return None
        remedy = ""
        if self.in_any_camera > self.found:
            remedy = f"; for {self.in_any_camera - self.found:,} of them the only match is in the query's own camera: "
            remedy += _NO_CAMERA_IDS
        return (
            f"{self.dataset}: {self.missing:,} of {self.queries.pictures:,} queries have no match{self._where()} in "
            f"the gallery and are not scored{remedy}"
        )

    def figures(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "same_camera": self.same_camera,
            "queries": self.queries.pictures,
            "people": self.queries.people,
            "cameras": list(self.queries.cameras),
            "gallery": self.gallery.pictures,
            "gallery_people": self.gallery.people,
            "gallery_cameras": list(self.gallery.cameras),
            "queries_with_match": self.found,
            "queries_without_match": self.missing,
        }

    def _where(self) -> str:
        return " in another camera" if self.same_camera == "drop" else ""


def count_matches(manifest: Manifest, same_camera: SameCamera, validation: bool = False) -> Matches:
    """Count the queries that have a match.

    Args:
        manifest: The split.
        same_camera: Whether the query's person in the query's camera is one.
        validation: Count those of the held-out training identities instead.
    """
    queries = manifest.split("val_query" if validation else "query")
    gallery = manifest.split("val_gallery" if validation else "gallery")
    nobody = {_JUNK_PID, manifest.header.distractor_pid}
    by_rule = _with_match(queries, gallery, nobody, same_camera)
    in_any = by_rule if same_camera == "keep" else _with_match(queries, gallery, nobody, "keep")
    return Matches(
        manifest.header.dataset, same_camera, _side(queries, nobody), _side(gallery, nobody), by_rule, in_any
    )


def _with_match(
    queries: Sequence[Entry], gallery: Sequence[Entry], nobody: set[int | None], same_camera: SameCamera
) -> int:
    known: dict[int, set[int]] = {}
    of_queries, of_gallery = camids_for_matching(queries, gallery, same_camera)
    for entry, number in zip(gallery, of_gallery.tolist(), strict=True):
        if entry.pid not in nobody:
            known.setdefault(entry.pid, set()).add(number)
    numbered = zip(queries, of_queries.tolist(), strict=True)
    return sum(bool(known.get(entry.pid, set()) - {number}) for entry, number in numbered)


def _side(entries: Sequence[Entry], nobody: set[int | None]) -> Side:
    people = {entry.pid for entry in entries} - nobody
    return Side(len(entries), len(people), tuple(sorted({entry.camera for entry in entries})))


def require_matches(
    manifest: Manifest, same_camera: SameCamera, warn: Callable[[str], None] | None = None, validation: bool = False
) -> None:
    """See that there is something to rank, before anything is trained or computed.

    Args:
        manifest: The split.
        same_camera: The rule.
        warn: Told where some queries have no match.
        validation: Look at the held-out training identities instead.

    Raises:
        UserError: No query has a match.
    """
    matches = count_matches(manifest, same_camera, validation)
    complaint, warning = matches.complaint(), matches.warning()
    if complaint is not None:
        raise UserError(complaint)
    if warning is not None and warn is not None:
        warn(warning)
