"""Rows over seeds, beside the paper's: means, intervals, differences, and the table as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intact_fast.config.options import DatasetName
from intact_fast.experiments.comparison import ComparedRow, beside_published
from intact_fast.experiments.paper_tables import PaperTable, reported
from intact_fast.experiments.published import Figures, OurProtocol
from intact_fast.experiments.recipes import RECIPES
from intact_fast.experiments.results import RowResult
from intact_fast.reporting.tables import markdown_lines

_DEFAULTS = OurProtocol()
_DRAWS = 2000
_INTERVAL = (2.5, 97.5)
_RANKED = ("Rank-1", "mAP", "multi-shot Rank-1", "cosine Rank-1", "cosine multi-shot Rank-1")
_MAIN = (*_RANKED, "PSNR (dB)")
_REST = ("Rank-5", "Rank-10", "multi-shot mAP", "cosine mAP", "SSIM")
REFERENCES = ("mse+id+gan", "feature-matching", "critic-mlr", "lr")
"""What every row that trains a G is measured against."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval over the people who are asked for, in points of Rank-1."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.1f}, {self.high:.1f}]"


def bootstrap(per_seed: Sequence[tuple[Sequence[int], Sequence[float]]], draws: int = _DRAWS) -> Interval:
    """95 % interval of a mean over queries, averaged over seeds.

    People are drawn with replacement, each with all of its queries, which succeed and fail together. The same people
    are drawn for all seeds, whether these share a split or split the same people otherwise. So the interval tells how
    much the figure depends on who was asked for. How much it depends on the training, the spread over seeds tells.

    Args:
        per_seed: Of each seed, the identity and a value of each query, 0 to 1 (-1 to 1 for differences).
        draws: How often.
    """
    people = sorted({pid for pids, _ in per_seed for pid in pids})
    even = np.full(len(people), 1 / len(people))
    # times that each person is drawn, draws×people
    drawn = np.random.default_rng(0).multinomial(len(people), even, size=draws).astype(np.float64)
    means = np.zeros(draws)
    for pids, values in per_seed:
        place = np.searchsorted(people, pids)
        sums, counts = np.bincount(place, values, len(people)), np.bincount(place, minlength=len(people))
        asked = drawn @ counts
        means += np.divide(drawn @ sums, asked, out=np.full(draws, np.mean(values)), where=asked > 0)
    low, high = np.percentile(100 * means / len(per_seed), _INTERVAL)
    return Interval(float(low), float(high))


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None with a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Summary:
    """One row over its seeds.

    Attributes:
        label: As the table has it.
        recipe: Its name.
        results: By seed.
        paper: The paper's figures.
    """

    label: str
    recipe: str
    results: Sequence[RowResult]
    paper: Figures

    def column(self, name: str) -> tuple[float, float | None] | None:
        """Mean and deviation of a figure; None where a row has none."""
        values = [r.figures[name] for r in self.results if name in r.figures]
        return mean_std(values) if values else None

    def further(self) -> dict[str, dict[str, tuple[float, float | None]]]:
        """Means and deviations of further rows' figures, by the key of their view."""
        keys = dict.fromkeys(key for r in self.results for key in r.further)
        return {
            key: {
                name: mean_std(values)
                for name in (*_MAIN, *_REST)
                if (values := [r.further[key][name] for r in self.results if name in r.further.get(key, {})])
            }
            for key in keys
        }

    def interval(self) -> Interval:
        """Bootstrap the mean Rank-1."""
        return bootstrap([(r.pid, r.rank1) for r in self.results])

    def per_r(self) -> dict[int, float]:
        """Rank-1 in percent of the queries of each r, seen and unseen."""
        found: dict[int, list[float]] = {}
        for result in self.results:
            rank1, r = np.asarray(result.rank1), np.asarray(result.r)
            for value in np.unique(r).tolist():
                found.setdefault(value, []).append(100 * float(rank1[r == value].mean()))
            for name, value in result.unseen.items():
                found.setdefault(int(name), []).append(value)
        return {r: float(np.mean(values)) for r, values in sorted(found.items())}

    def gain_over(self, other: Summary) -> tuple[float, Interval] | None:
        """Gain in Rank-1 over another row on the same queries, seed by seed; None without a common seed."""
        theirs = {r.seed: r for r in other.results}
        pairs = [(r, theirs[r.seed]) for r in self.results if r.seed in theirs]
        if not pairs:
            return None
        assert all(a.manifest == b.manifest for a, b in pairs)
        assert all(a.pid == b.pid for a, b in pairs)
        differences = [(a.pid, np.subtract(a.rank1, b.rank1).tolist()) for a, b in pairs]
        return 100 * float(np.mean([np.mean(d) for _, d in differences])), bootstrap(differences)


def iterations_to_reach(result: RowResult, rank1: float) -> int | None:
    """Find the first validated iteration with at least that Rank-1 in percent; None if there is none."""
    return next((iteration for iteration, value in result.curve if value >= rank1), None)


def markdown(
    title: str,
    table: PaperTable | None,
    dataset: DatasetName,
    protocol: str,
    rows: Sequence[Summary],
    notes: Sequence[str],
    ours: OurProtocol | None = _DEFAULTS,
) -> str:
    """Write the table as a Markdown document.

    Args:
        title: Its title.
        table: Of the paper; None for a list of recipes.
        dataset: What it was measured on.
        protocol: How, in words.
        rows: Its rows.
        notes: What there is to say of each.
        ours: How, to tell which published figures compare; None leaves those out.
    """
    parts = [f"# {title}", _main_table(rows, protocol), _upper(rows), _further_rows(rows), _further_figures(rows)]
    parts += [
        "" if ours is None else _beside_published(table, dataset, rows, ours),
        _per_r_table(rows),
        _gains(rows),
        _training_table(rows),
        "\n".join(f"- {n}" for n in notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(rows: Sequence[Summary], protocol: str) -> dict[str, Any]:
    """Plain figures of every row, and how they were measured, in words."""
    plain: dict[str, Any] = {}
    for row in rows:
        columns = {name: row.column(name) for name in (*_MAIN, *_REST)}
        interval = row.interval()
        plain[row.recipe] = {
            "label": row.label,
            "protocol": protocol,
            "seeds": [r.seed for r in row.results],
            "figures": _plain({name: figure for name, figure in columns.items() if figure is not None}),
            "further": {key: _plain(figures) for key, figures in row.further().items()},
            "rank1_interval": [interval.low, interval.high],
            "per_r": row.per_r(),
            "upper": {
                name: mean_std(known)[0]
                for name in _RANKED
                if (known := [r.upper[name] for r in row.results if name in r.upper])
            },
            "gains": {
                name: {"points": points, "interval": [interval.low, interval.high]}
                for name, (points, interval) in gains(row, rows).items()
            },
            "reached": {str(seed): iteration for seed, iteration in iterations_to_baseline(row, rows).items()},
            "paper": dict(row.paper),
            "health": [r.health for r in row.results],
            "step_ms": [r.step_ms for r in row.results],
        }
    return plain


def _plain(figures: Mapping[str, tuple[float, float | None]]) -> dict[str, dict[str, float | None]]:
    return {name: {"mean": mean, "std": deviation} for name, (mean, deviation) in figures.items()}


def _measured(names: Sequence[str], rows: Sequence[Summary]) -> list[str]:
    """Those figures that some row has."""
    return [name for name in names if any(row.column(name) is not None for row in rows)]


def _main_table(rows: Sequence[Summary], protocol: str) -> str:
    counts = {len(row.results) for row in rows}
    shown = _measured(_MAIN, rows)
    lines = [["", "Rank-1", "95 % over people", *shown[1:]]]
    for row in rows:
        first, *others = [_cell(row.column(name), name) for name in shown]
        lines.append([f"{row.label} (`{row.recipe}`)", first, str(row.interval()), *others])
    if counts == {1}:
        spread = "One seed"
    else:
        spread = f"Mean ± standard deviation over {'up to ' if len(counts) > 1 else ''}{max(counts)} seeds"
    return f"{markdown_lines(lines)}\n\n{spread}; percent, dB; {protocol}."


def _further_rows(rows: Sequence[Summary]) -> str:
    """Tabulate rows of test-time options beside the plain ones that they are of."""
    further = {row.recipe: row.further() for row in rows}
    names = [name for name in _RANKED if any(name in f for found in further.values() for f in found.values())]
    lines = [["further rows", *names]]
    for row in rows:
        for key, found in further[row.recipe].items():
            lines.append([f"{row.label}: `{key}`", *(_cell(found.get(name), name) for name in names)])
    return markdown_lines(lines) if len(lines) > 1 else ""


def _further_figures(rows: Sequence[Summary]) -> str:
    names = _measured(_REST, rows)
    lines = [["further figures", *names]]
    lines += [[row.label, *(_cell(row.column(name), name) for name in names)] for row in rows]
    return markdown_lines(lines) if names else ""


def _upper(rows: Sequence[Summary]) -> str:
    found = []
    for name in _RANKED:
        # a fine-tuned C, or a gallery that G has changed, has an upper bound of its own
        shared = [
            row
            for row in rows
            if RECIPES[row.recipe].trains != "critic" and "evaluation.gallery" not in RECIPES[row.recipe].changes
        ]
        values = {r.seed: r.upper[name] for row in shared for r in row.results if name in r.upper}
        if values:
            found.append(f"{name} {_cell(mean_std(list(values.values())), name)}")
    return f"HR queries through the same C (upper bound): {', '.join(found)}." if found else ""


def _beside_published(
    table: PaperTable | None, dataset: DatasetName, rows: Sequence[Summary], ours: OurProtocol
) -> str:
    compared = []
    for row in rows:
        names = dict.fromkeys(name for result in row.results for name in result.figures)
        means = {name: found[0] for name in names if (found := row.column(name)) is not None}
        compared.append(ComparedRow(row.label, row.recipe, means, row.paper))
    parts = [beside_published(dataset, compared, ours)]
    of_table = {} if table is None else {recipe: label for label, recipe in table.rows}
    missing = [row.label for row in rows if row.recipe in of_table and not row.paper]
    if missing and table is not None and table.dataset is not None:
        parts.append(f"The paper has {', '.join(missing)} on {table.dataset} alone.")
    return "\n\n".join(part for part in parts if part)


def _per_r_table(rows: Sequence[Summary]) -> str:
    rates = sorted({r for row in rows for r in row.per_r() if r})
    if not rates:
        return ""
    seen = {value for row in rows for result in row.results for value in result.r}
    heads = (f"r = {r}" + ("" if r in seen else " (not in the split: all queries)") for r in rates)
    lines = [["Rank-1 at", *heads]]
    for row in rows:
        found = row.per_r()
        lines.append([row.label, *(f"{found[r]:.1f}" if r in found else "–" for r in rates)])
    return markdown_lines(lines)


def gains(row: Summary, rows: Sequence[Summary]) -> dict[str, tuple[float, Interval]]:
    """Compute a row's gain in Rank-1 over each reference that is there; empty where it trains no G."""
    if RECIPES[row.recipe].trains != "generator":
        return {}
    references = {other.recipe: other for other in rows if other.recipe in REFERENCES and other is not row}
    found = {name: row.gain_over(references[name]) for name in REFERENCES if name in references}
    return {name: gain for name, gain in found.items() if gain is not None}


def _gains(rows: Sequence[Summary]) -> str:
    lines = [["gain in Rank-1, paired by query", "points", "95 % over people"]]
    for row in rows:
        for name, (points, interval) in gains(row, rows).items():
            lines.append([f"{row.label} over `{name}`", f"{points:+.1f}", str(interval)])
    return markdown_lines(lines) if len(lines) > 1 else ""


def iterations_to_baseline(row: Summary, rows: Sequence[Summary]) -> dict[int, int | None]:
    """Find, by seed, the first validated iteration at the last Rank-1 of ``mse+id+gan``; None if there is none."""
    baseline = {
        r.seed: r.curve[-1][1] for other in rows if other.recipe == "mse+id+gan" for r in other.results if r.curve
    }
    return {r.seed: iterations_to_reach(r, baseline[r.seed]) for r in row.results if r.curve and r.seed in baseline}


def _training_table(rows: Sequence[Summary]) -> str:
    """Tabulate the cost of each row, when it reaches the baseline's last figure, and R² of φ."""
    lines = [
        [
            "training",
            "ms per iteration",
            "validation Rank-1",
            "iterations to `mse+id+gan`'s last",
            "R² of φ / ridge",
        ]
    ]
    for row in rows:
        if RECIPES[row.recipe].trains != "generator":
            continue
        steps = [r.step_ms for r in row.results if r.step_ms is not None]
        last = [r.curve[-1][1] for r in row.results if r.curve]
        health = [r.health for r in row.results if "validation/r2" in r.health]
        r2 = (
            " / ".join(f"{np.mean([h[name] for h in health]):.2f}" for name in ("validation/r2", "validation/r2_ridge"))
            if health
            else "–"
        )
        lines.append(
            [
                row.label,
                f"{np.mean(steps):.0f}" if steps else "–",
                _cell(mean_std(last), "") if last else "–",
                ", ".join("never" if n is None else str(n) for n in iterations_to_baseline(row, rows).values()) or "–",
                r2,
            ]
        )
    return markdown_lines(lines) if len(lines) > 1 else ""


def _cell(figure: tuple[float, float | None] | None, name: str) -> str:
    if figure is None:
        return "–"
    mean, deviation = figure
    digits = 3 if name == "SSIM" else 1
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def summaries(
    names: Sequence[str], results: Mapping[str, Sequence[RowResult]], table: PaperTable | None, dataset: DatasetName
) -> list[Summary]:
    """Rows in the table's order with its labels, then the others.

    Args:
        names: Recipes.
        results: By recipe; those without any are left out.
        table: Of the paper; None for a list of recipes.
        dataset: Which of its figures to set beside ours.
    """
    labels = {} if table is None else {recipe: label for label, recipe in table.rows}
    names = [*labels, *(name for name in names if name not in labels)]
    return [
        Summary(
            labels.get(name, RECIPES[name].description),
            name,
            results[name],
            reported(dataset, name),
        )
        for name in names
        if results.get(name)
    ]
