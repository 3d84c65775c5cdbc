"""The people that a C was trained on: its file names them, so that it is not tested on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.plain_values import read_plain


@dataclass(frozen=True)
class KnownPeople:
    """The identities of one training of C.

    Attributes:
        data: Which data they are of (:attr:`Manifest.data`).
        trained: Those with pictures among the training pictures, in order.
        classes: Those that the classifier has a class for, in its order; held-out ones are there, too.
    """

    data: str
    trained: list[int]
    classes: list[int]


def people_of(manifest: Manifest) -> KnownPeople:
    """Name the people that a training on a split gets to know."""
    trained = sorted({entry.pid for entry in manifest.split("train")})
    return KnownPeople(manifest.data, trained, list(manifest.labels))


def people_of_sources(manifest: Manifest) -> list[KnownPeople]:
    """Name the people that a training on a split gets to know of each further data set, by their numbers there."""
    return [KnownPeople(source.data, list(source.pids), []) for source in manifest.header.sources]


def stored(known: Sequence[KnownPeople]) -> list[dict[str, Any]]:
    """The plain form for C's file: of each training that led to it, the last one last."""
    return [asdict(people) for people in known]


def read_known_people(path: Path, option: str) -> list[KnownPeople]:
    """What C's file says; nothing where it does not say, as torchreid's.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        return read_plain(list[KnownPeople], read_checkpoint(path, option).get("trained_on"))
    except ValueError:
        return []


def refuse_known_people(path: Path, option: str, manifest: Manifest, keeps_classes: bool = False) -> None:
    """See that a C was not trained on a split's test identities.

    Args:
        path: C's file.
        option: How the user named it, for errors.
        manifest: The split.
        keeps_classes: Its classifier is used as it is, for this split's training identities.

    Raises:
        UserError: It was, or its classes are of other people.
    """
    known = read_known_people(path, option)
    test = {entry.pid for entry in manifest.split("query", "gallery")} - {manifest.header.distractor_pid}
    # a folder of one's own may give training and test people the same numbers, of which obtaining the split warns
    apart = test - manifest.labels.keys()
    seen = apart & {pid for people in known if people.data == manifest.data for pid in people.trained}
    if seen:
        raise UserError(
            f"{option} {path}: was trained on {len(seen)} of the {len(test)} test identities of this split; train C on "
            "this split's own training identities, or give the split that it was trained on (--data.manifest)"
        )
    if keeps_classes and known and not _fits(known, manifest):
        raise UserError(
            f"{option} {path}: its classes are other people than this split's training identities; use --critic.init, "
            "without --critic.keep-classifier, to keep the backbone alone"
        )


def _fits(known: Sequence[KnownPeople], manifest: Manifest) -> bool:
    """Whether classes may be this split's training identities; of changed folders nobody knows."""
    *before, last = known
    sources = people_of_sources(manifest)
    if sources and before[-len(sources) :] != sources:
        return False
    if last.data == manifest.data:
        return last.classes == list(manifest.labels)
    return last.data.startswith("folder") and manifest.data.startswith("folder")
