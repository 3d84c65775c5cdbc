"""Which matches of a search are accepted: thresholds by query, and how the result says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from intact_fast.commands.model_options import model_files
from intact_fast.commands.search_queries import Queries
from intact_fast.errors import UserError
from intact_fast.serving.gallery import Match
from intact_fast.serving.gallery.store import Identity
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.thresholds import Threshold, Thresholds, read_thresholds, rounded_up

_OPTION = "--accept"


class AcceptOptions(Protocol):
    """Options that concern what is accepted."""

    @property
    def model(self) -> Path: ...  # noqa: D102
    @property
    def critic(self) -> Path | None: ...  # noqa: D102
    @property
    def accept(self) -> float | None: ...  # noqa: D102
    @property
    def thresholds(self) -> Path | None: ...  # noqa: D102
    @property
    def group_by(self) -> str | None: ...  # noqa: D102
    @property
    def group(self) -> Literal["mean", "best"]: ...  # noqa: D102
    @property
    def pool(self) -> bool: ...  # noqa: D102


def check_accept(options: AcceptOptions) -> None:
    """Raise UserError where there is nothing to accept by, or similarities are none of two pictures."""
    if options.accept is None:
        if options.thresholds is not None:
            raise UserError(f"--thresholds {options.thresholds}: say which of them; give --accept RATE, too")
        return
    if not 0 < options.accept < 1:
        raise UserError(f"{_OPTION} {options.accept:g}: a share of non-matches; give a rate above 0 and below 1")
    if options.pool:
        raise UserError(
            f"{_OPTION}: thresholds are of two pictures, and --pool averages several; leave one of them out"
        )
    if options.group_by is not None and options.group == "mean":
        raise UserError(f"{_OPTION}: thresholds are of two pictures; give --group best, or leave it out")


def find_thresholds(options: AcceptOptions, model: SRReID) -> Thresholds | None:
    """Give the thresholds to accept by: the file's, else the model's; None where nothing is asked for.

    Raises:
        UserError: There are none, or the file is of another model.
    """
    if options.accept is None:
        return None
    if options.thresholds is not None:
        identity = Identity.of_files(model_files(options.model, options.critic), "")
        return read_thresholds(options.thresholds, identity.digest, "--thresholds")
    if model.thresholds is None:
        whose = f"{options.model} with --critic {options.critic}" if options.critic else str(options.model)
        raise UserError(
            f"{_OPTION} {options.accept:g}: {whose} has no thresholds; measure them by intact-fast calibrate --out "
            "FILE.json, and give --thresholds FILE.json"
        )
    return model.thresholds


@dataclass(frozen=True)
class Acceptance:
    """What is accepted of each query.

    Attributes:
        rate: False-match rate.
        views: Form of each query (``hr``, ``lr``, ``sr``), by its name.
        steps: Its threshold, by its name.
    """

    rate: float
    views: dict[str, str]
    steps: dict[str, Threshold]

    @classmethod
    def of(
        cls, queries: Queries, thresholds: Thresholds | None, rate: float | None, model: SRReID
    ) -> Acceptance | None:
        """Find the threshold of each query by how the model serves it; None where nothing is asked for.

        Raises:
            UserError: A query's form has no threshold of that rate.
        """
        if thresholds is None or rate is None:
            return None
        views: dict[str, str] = {
            name: model.view_of(height) for name, height in zip(queries.names, queries.heights, strict=True)
        }
        return cls(rate, views, {name: thresholds.at(view, rate, _OPTION) for name, view in views.items()})

    @property
    def limits(self) -> dict[str, float]:
        """Similarity above which a match is accepted, by the query's name."""
        return {name: step.similarity for name, step in self.steps.items()}

    def accepts(self, query: str, match: Match) -> bool:
        """Say whether a match is accepted."""
        return match.similarity > self.steps[query].similarity

    def headline(self, query: str, matches: Sequence[Match]) -> str:
        """Say how many of a list are accepted."""
        count = sum(self.accepts(query, match) for match in matches)
        limit = rounded_up(self.steps[query].similarity)
        return f"{query}: {count or 'none'} accepted, above {limit} ({self.views[query]})"

    def figures(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "rate": self.rate,
            "queries": {
                name: {"view": self.views[name], "similarity": step.similarity} for name, step in self.steps.items()
            },
        }
