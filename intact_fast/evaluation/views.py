"""The rows of a table: which form of the queries each of them shows, and which networks see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from intact_fast.config.options import Config, EvaluationConfig, TestTime
from intact_fast.evaluation.picture_source import Variant
from intact_fast.models import LightGenerator
from intact_fast.serving.sr_reid import SRReID

View = str
"""Key of a row: ``hr``, ``lr``, ``sr``, and others such as ``sr+flip`` and ``sr-corrupted``. It stands in files, and
does not change."""

TEST_TIME: tuple[TestTime, ...] = ("flip", "plain", "shifts", "cosine")
"""Test-time options in the order of keys, names and rows."""


@dataclass(frozen=True)
class QueryView:
    """One row of a table.

    Attributes:
        key: Stable, for mappings and files.
        name: What tables call it.
        variant: Which form of the pictures is read.
        served: Whether they pass through what serves LR pictures, G and C_q, or through C alone.
        test_time: What else is done with them, in the order of `TEST_TIME`.
    """

    key: View
    name: str
    variant: Variant
    served: bool = False
    test_time: tuple[TestTime, ...] = ()

    def configured(self, config: EvaluationConfig) -> EvaluationConfig:
        """Give the configuration that ranks it: under its own distance, or the one that is there."""
        return replace(config, metric="cosine") if "cosine" in self.test_time else config


HR = QueryView("hr", "HR queries (upper bound)", "hr")
LR = QueryView("lr", "LR queries without SR", "lr")
SR = QueryView("sr", "SR queries", "lr", served=True)
VIEWS = {view.key: view for view in (HR, LR, SR)}
"""The rows that need no option, by key."""


def of_corrupted(view: QueryView) -> list[QueryView]:
    """Give the row of the same queries, corrupted; none of one that shows them as HR."""
    if view.variant == "hr":
        return []
    name = "LR queries, corrupted" if view.key == "lr" else f"{view.name}, corrupted"
    return [replace(view, key=f"{view.key}-corrupted", name=name, variant="corrupted")]


def with_test_time(view: QueryView, config: EvaluationConfig) -> list[QueryView]:
    """Give the rows that test-time options add to one that is served; none to another.

    Each option has a row, and two or more have a last one together. An option that changes nothing has none: `cosine`
    where the distance is that already.

    Args:
        view: The row beside which they stand.
        config: Says which options.
    """
    if not view.served:
        return []
    asked = set(config.test_time) - ({"cosine"} if config.metric == "cosine" else set())
    given = [option for option in TEST_TIME if option in asked]
    sets = [(option,) for option in given] + ([tuple(given)] if len(given) > 1 else [])
    short = view.key.upper()
    return [
        replace(view, key="+".join((view.key, *options)), name=f"{short} with {_listed(options)}", test_time=options)
        for options in sets
    ]


def _listed(options: Sequence[str]) -> str:
    *others, last = options
    return f"{', '.join(others)} and {last}" if others else last


def had_association(config: Config) -> bool:
    """Say whether the association took part in a training. The running mean in its place is a control."""
    return config.loss.lambda_dis != 0 and config.association.predictor == "phi"


def name_of_served(model: SRReID, association: bool) -> str:
    """Name the row of LR queries by what serves them.

    Args:
        model: What serves them.
        association: Whether the association took part in its training, which is then called by the paper's name.
    """
    critic = "C" if model.query_critic is None else "C_q"
    if model.generator is None:
        return f"{SR.name} ({critic} alone, no G)"
    served = "light G" if isinstance(model.generator, LightGenerator) else "G"
    if model.query_critic is not None:
        served += " and C_q"
    if association:
        return "INTACT" if served == "G" else f"INTACT ({served})"
    return f"{SR.name} ({served})"


def by_key(views: Iterable[QueryView]) -> dict[View, QueryView]:
    """Give rows by their keys, in order."""
    return {view.key: view for view in views}
