"""Thresholds in words: those of the model, those of the test people, and searches for people who are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from intact_fast.evaluation.open_set import Identification, identifications
from intact_fast.evaluation.verification import PairSimilarities, accepted, thresholds
from intact_fast.evaluation.views import View
from intact_fast.reporting.tables import markdown_lines
from intact_fast.serving.thresholds import FEWEST_FALSE, Threshold, Thresholds, rounded_up

Pairs = Mapping[View, PairSimilarities]
_TOO_FEW = f"Rates with fewer than {FEWEST_FALSE} expected false matches are left out."


@dataclass(frozen=True)
class ThresholdTable:
    """Thresholds in words.

    Attributes:
        title: Heading.
        intro: What was measured.
        cells: Rows of cells, the header first; empty where the pairs are too few.
        explained: What the cells mean.
    """

    title: str
    intro: str
    cells: list[list[str]]
    explained: str


def threshold_figures(pairs: Pairs, names: Mapping[View, str], model: Thresholds | None) -> dict[str, Any]:
    """Plain numbers of all thresholds, shares of 1, ready for JSON.

    Args:
        pairs: From `pair_similarities`.
        names: What tables call each view.
        model: Thresholds that the model holds.

    Returns:
        ``thresholds`` and ``open_set`` by the view's name, and ``model_thresholds``.
    """
    return {
        "thresholds": {names[view]: [asdict(t) for t in thresholds(found)] for view, found in pairs.items()},
        "open_set": {names[view]: [asdict(i) for i in identifications(found)] for view, found in pairs.items()},
        "model_thresholds": None if model is None else model.to_plain(),
    }


def threshold_tables(pairs: Pairs, names: Mapping[View, str], model: Thresholds | None) -> list[ThresholdTable]:
    """Tabulate all thresholds; see `threshold_figures`."""
    return [_of_model(model, pairs, names), _of_pairs(pairs, names), _of_searches(pairs, names)]


def markdown_thresholds(tables: Sequence[ThresholdTable]) -> str:
    """Write tables of thresholds for a report, with what they mean."""
    parts = []
    for table in tables:
        parts += [f"### {table.title}", table.intro]
        parts += [markdown_lines(table.cells)] if table.cells else []
        parts.append(table.explained)
    return "\n\n".join(part for part in parts if part)


def _of_model(model: Thresholds | None, pairs: Pairs, names: Mapping[View, str]) -> ThresholdTable:
    title = "Thresholds of the model"
    if model is None:
        intro = "The split holds no training people out, so that the model has no thresholds."
        return ThresholdTable(title, intro, [], "`intact-fast calibrate` measures them on other people.")
    lines = []
    for view, found in model.views.items():
        for step in found.steps:
            line = [f"{100 * step.rate:g} %", names.get(view, view), rounded_up(step.similarity)]
            line.append(f"{100 * step.true_match_rate:.1f} %")
            lines.append([*line, *(_on_test(pairs[view], step) if view in pairs else ("–", "–"))])
    counts = "; ".join(
        f"{names.get(view, view)}: {found.matches:,} matches and {found.non_matches:,} non-matches of {found.people:,} "
        "people"
        for view, found in model.views.items()
    )
    intro = f"Measured on {model.data}, for `intact-fast search --accept`. {counts}."
    if not lines:
        return ThresholdTable(title, intro, [], "The non-matches are too few to set a threshold by.")
    header = ["Non-matches accepted, at most", "Queries", "Similarity above", "Matches accepted"]
    header += ["Test people: matches", "Test people: non-matches"]
    explained = f"{_TOO_FEW} The last two columns say what the same threshold accepts of the test people's pairs."
    return ThresholdTable(title, intro, [header, *lines], explained)


def calibration_lines(model: Thresholds) -> list[str]:
    """Say in a line for each threshold what it accepts, for the terminal."""
    lines = [f"measured on {model.data}; similarity: the cosine of two features"]
    for view, found in model.views.items():
        lines.append(
            f"{view}: {found.matches:,} matches, {found.non_matches:,} non-matches, queries of {found.people:,} people"
        )
        for step in found.steps:
            true = f"{100 * step.true_match_rate:.1f} % of the matches"
            lines.append(f"  --accept {step.rate:g}: above {rounded_up(step.similarity)}, {true}")
    return lines


def _on_test(pairs: PairSimilarities, step: Threshold) -> tuple[str, str]:
    true, false = accepted(pairs, step.similarity)
    # beyond the pairs that were kept, at least their share is accepted
    kept = len(pairs.highest_non_matches) / max(pairs.total_non_matches, 1)
    return f"{100 * true:.1f} %", f"over {100 * kept:.3g} %" if false is None else f"{100 * false:.3g} %"


def _of_pairs(pairs: Pairs, names: Mapping[View, str]) -> ThresholdTable:
    title = "Thresholds of the test people"
    some = next(iter(pairs.values()))
    where = "in another camera" if some.same_camera == "drop" else "in any camera"
    intro = (
        f"{len(some.matches):,} matches (the same person {where}) and {some.total_non_matches:,} non-matches, "
        "distractors among them; the similarity is the cosine of features, not re-ranked."
    )
    cells = _by_rate(
        "Non-matches accepted, at most",
        {names[view]: {t.rate: (t.true_match_rate, t.similarity) for t in thresholds(p)} for view, p in pairs.items()},
    )
    explained = (
        f"In each cell: the share of matches that is accepted, and the similarity above which a pair is. {_TOO_FEW}"
    )
    return ThresholdTable(title, intro, cells, explained if cells else "Too few non-matches to set a threshold by.")


def _of_searches(pairs: Pairs, names: Mapping[View, str]) -> ThresholdTable:
    title = "Searches for people who are not there"
    some = next(iter(pairs.values()))
    intro = (
        f"{len(some.best_matches):,} searches have their person in the gallery, and as many are for strangers: the "
        "same queries, with their person left out of the gallery."
    )
    found: dict[str, list[Identification]] = {names[view]: identifications(p) for view, p in pairs.items()}
    cells = _by_rate(
        "FPIR, at most",
        {name: {i.rate: (i.detection_rate, i.similarity) for i in items} for name, items in found.items()},
    )
    explained = (
        "FPIR is the share of searches for strangers that name somebody. In each cell: the share of the other searches "
        "whose first candidate is the person and is accepted (DIR at rank 1), and the similarity above which a "
        f"candidate is. Rates with fewer than {FEWEST_FALSE} expected searches are left out."
    )
    return ThresholdTable(title, intro, cells, explained if cells else "Too few queries to set a threshold by.")


def _by_rate(label: str, columns: Mapping[str, Mapping[float, tuple[float, float]]]) -> list[list[str]]:
    """Tabulate shares with their thresholds: a row for each rate, a column for each name; [] where there is none."""
    rates = list(dict.fromkeys(rate for column in columns.values() for rate in column))
    lines = [[f"{100 * rate:g} %", *(_cell(column.get(rate)) for column in columns.values())] for rate in rates]
    return [[label, *columns], *lines] if lines else []


def _cell(found: tuple[float, float] | None) -> str:
    return "–" if found is None else f"{100 * found[0]:.1f} % (above {rounded_up(found[1])})"
