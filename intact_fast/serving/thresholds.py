"""Thresholds of a model: the similarity above which two pictures are taken for one person, and how often that is wrong.

The similarity of two pictures is the cosine of their features everywhere: in thresholds, in reports, in ``search``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
"""False-match rates that thresholds are given for."""
FEWEST_FALSE = 10
"""A rate needs so many expected false matches: fewer are too few to estimate it from."""

_KIND, _VERSION = "thresholds", 1
_CALLED = {"hr": "HR queries", "lr": "LR queries without SR", "sr": "super-resolved queries"}


@dataclass(frozen=True)
class Threshold:
    """Pairs of a greater ``similarity`` are taken for matches.

    Attributes:
        rate: Share of non-matches that may be accepted.
        similarity: The smallest such threshold, a cosine.
        false_match_rate: Share of non-matches that it accepts, at most ``rate``.
        true_match_rate: Share of matches that it accepts.
    """

    rate: float
    similarity: float
    false_match_rate: float
    true_match_rate: float


@dataclass(frozen=True)
class ViewThresholds:
    """Thresholds of one form of the queries.

    Attributes:
        matches: Number of pairs of the same person (genuine pairs) that they were measured on.
        non_matches: Number of pairs of two people (impostor pairs).
        people: Whose queries they were.
        steps: One for each rate that the non-matches are enough for.
    """

    matches: int
    non_matches: int
    people: int
    steps: tuple[Threshold, ...]


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of a model.

    Attributes:
        data: What they were measured on, in words.
        views: By form of the queries: ``hr``, ``lr`` (without SR) and ``sr``, as far as they were measured.
    """

    data: str
    views: Mapping[str, ViewThresholds]

    def at(self, view: str, rate: float, option: str = "rate") -> Threshold:
        """Give the threshold of a false-match rate.

        Args:
            view: Form of the query, as `SRReID.view_of` names it.
            rate: One that was measured.
            option: How the user named the rate, for the error.

        Raises:
            UserError: There is none for this form or rate; says why.
        """
        asked = f"{option} {rate:g}"
        found = self.views.get(view)
        if found is None:
            raise UserError(
                f"{asked}: no threshold for {_CALLED.get(view, view)}, as {self.data} has none; calibrate on data with "
                "such queries (intact-fast calibrate)"
            )
        for step in found.steps:
            if step.rate == rate:
                return step
        given = ", ".join(f"{step.rate:g}" for step in found.steps)
        if not supports(rate, found.non_matches):
            instead = f"give one of {given}, or " if given else ""
            raise UserError(
                f"{asked}: needs {FEWEST_FALSE / rate:,.0f} pairs of two people, and {self.data} has "
                f"{found.non_matches:,}; {instead}calibrate on more people (intact-fast calibrate)"
            )
        raise UserError(
            f"{asked}: measured are {given or 'none'}; give one, or use intact-fast calibrate --rates {rate:g}"
        )

    def to_plain(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        views = {
            view: {**vars(found), "steps": [asdict(step) for step in found.steps]} for view, found in self.views.items()
        }
        return {"data": self.data, "views": views}

    @classmethod
    def from_plain(cls, plain: object, what: str = "") -> Self:
        """Rebuild what `to_plain` gave.

        Args:
            plain: Of it.
            what: Key under which it stands in a file, for errors.

        Raises:
            ValueError: It is something else.
        """
        return read_plain(cls, plain, what)


@dataclass(frozen=True)
class _File:
    """What `write_thresholds` writes."""

    intact_fast: str
    version: int
    model: str
    digest: str
    thresholds: Thresholds


def rounded_up(similarity: float) -> str:
    """Write a threshold with four decimals; rounded down, it could accept more than it may."""
    return f"{math.ceil(1e4 * similarity) / 1e4:.4f}"


def supports(rate: float, non_matches: int) -> bool:
    """Say whether so many non-matches are enough to measure a false-match rate."""
    return rate * non_matches >= FEWEST_FALSE


def write_thresholds(path: Path, thresholds: Thresholds, model: str, digest: str) -> None:
    """Write thresholds as JSON, atomically.

    Args:
        path: The file.
        thresholds: What it shall hold.
        model: File of the model that they were measured with, for messages alone.
        digest: Of the model's content.
    """
    found = {**vars(_File(_KIND, _VERSION, model, digest, thresholds)), "thresholds": thresholds.to_plain()}
    with write_atomically(path) as temporary:
        temporary.write_text(to_json(found, indent=1) + "\n", encoding="utf-8")


def read_thresholds(path: Path, digest: str, option: str) -> Thresholds:
    """Read what `write_thresholds` wrote.

    Args:
        path: The file.
        digest: Of the model that they shall be used with.
        option: How the user named the file, for errors.

    Raises:
        UserError: The file is missing or something else, or of another model.
    """
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file; intact-fast calibrate --out {path} writes one")
    try:
        found = read_plain(_File, from_json(path.read_text(encoding="utf-8")))
        if found.intact_fast != _KIND or found.version != _VERSION:
            raise ValueError(f"version {found.version}")
    except ValueError as error:
        raise UserError(
            f"{option} {path}: no file of thresholds of this version; let intact-fast calibrate write one"
        ) from error
    if found.digest != digest:
        raise UserError(
            f"{option} {path}: measured with {found.model} ({found.digest[:12]}), another model than this one "
            f"({digest[:12]}); use that model, or calibrate this one"
        )
    return found.thresholds
