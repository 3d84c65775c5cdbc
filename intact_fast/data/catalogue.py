"""Catalogues of data sets: every picture with its person and camera, before splits are decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from intact_fast.config.options import DatasetName
from intact_fast.data.picture_files import LeftOut
from intact_fast.errors import UserError

Subset = Literal["all", "train", "val", "test", "query", "gallery"]
"""Role that the data set itself gives a picture: ``all`` has none (identities are split at random),
``test`` belongs to a test identity without a fixed side (the LR camera makes the queries), ``val`` to a training
identity that is held out."""


@dataclass(frozen=True)
class Picture:
    """One picture of one person.

    Attributes:
        path: Relative to the data root, with forward slashes.
        pid: Identity.
        camera: Camera number as the data set's file names have it.
        subset: Role given by the data set.
    """

    path: str
    pid: int
    camera: int
    subset: Subset


@dataclass(frozen=True)
class Counts:
    """Size of a part of a data set as its authors give it.

    Attributes:
        subsets: The part.
        pictures: How many, None where the authors do not say.
        identities: How many.
    """

    subsets: tuple[Subset, ...]
    pictures: int | None
    identities: int


@dataclass(frozen=True)
class Catalogue:
    """All pictures of a data set.

    Attributes:
        dataset: Name of the data set.
        pictures: In a fixed order, independent of the file system's.
        default_lr_camera: Camera whose test pictures are the LR queries when the user names none;
            None means that all query pictures are LR.
        distractor_pid: Identity number that marks gallery pictures of nobody in the queries.
        natively_lr: Whether the pictures of ``default_lr_camera`` are LR as they are, so that they
            are neither degraded for a test nor targets of a training.
        official: Sizes that a complete copy has.
        left_out: Files beside the pictures.
        notes: Sentences on how a folder without a fixed layout was understood.
        warnings: Sentences on what looks like a mistake.
    """

    dataset: DatasetName
    pictures: tuple[Picture, ...]
    default_lr_camera: int | None
    distractor_pid: int | None = None
    natively_lr: bool = False
    official: tuple[Counts, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def deviations(self) -> list[str]:
        """Say in words where the sizes differ from the official ones, as those of an incomplete download do."""
        found = []
        for counts in self.official:
            part = [p for p in self.pictures if p.subset in counts.subsets]
            identities = len({p.pid for p in part})
            pictures = len(part) if counts.pictures is not None else None
            if (pictures, identities) != (counts.pictures, counts.identities):
                name = "" if counts.subsets == ("all",) else f" ({' and '.join(counts.subsets)})"
                found.append(
                    f"{self.dataset}{name}: {_size(pictures, identities)} here, "
                    f"{_size(counts.pictures, counts.identities)} officially; the copy may be incomplete"
                )
        return found


def _size(pictures: int | None, identities: int) -> str:
    return f"{identities:,} identities" if pictures is None else f"{pictures:,} pictures of {identities:,} identities"


def find_layout(root: Path, candidates: Iterable[str], needed: Iterable[str], dataset: str) -> Path:
    """Return the first candidate folder below ``root`` that holds every needed sub-folder.

    Raises:
        UserError: ``root`` is missing, or no candidate fits; the message says what was looked for.
    """
    needed = tuple(needed)
    candidates = tuple(candidates)
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the folder that holds {dataset}")
    for candidate in candidates:
        folder = root / candidate
        if all((folder / name).is_dir() for name in needed):
            return folder
    places = ", ".join(str(root / candidate) for candidate in candidates)
    raise UserError(f"--data.root {root}: no {dataset} here; looked for the folders {', '.join(needed)} in {places}")
