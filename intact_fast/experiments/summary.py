"""Rows over seeds, beside the paper's: means, intervals, differences, and the table as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intact_fast.evaluation.tables import markdown_lines
from intact_fast.experiments.paper_tables import Figures, PaperTable
from intact_fast.experiments.recipes import RECIPES
from intact_fast.experiments.rows import RowResult

_DRAWS = 2000
_INTERVAL = (2.5, 97.5)
_COLUMNS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "multi-shot Rank-1", "PSNR (dB)", "SSIM")
REFERENCES = ("mse+id+gan", "feature-matching")
"""What INTACT's gain is measured against."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval over queries, in points of Rank-1."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.1f}, {self.high:.1f}]"


def bootstrap(per_seed: Sequence[tuple[str, Sequence[float]]], draws: int = _DRAWS) -> Interval:
    """95 % interval of a mean over queries, averaged over seeds.

    Queries are drawn with replacement, the same ones for all seeds that share a split, so that it tells how much the
    figure depends on which people were asked for, and not how much on the training: that is the spread over seeds.

    Args:
        per_seed: Of each seed, the hash of its split and a value of each query, 0 to 1 (-1 to 1 for differences).
        draws: How often.
    """
    rng = np.random.default_rng(0)
    by_split: dict[str, list[Sequence[float]]] = {}
    for split, values in per_seed:
        by_split.setdefault(split, []).append(values)
    sums = np.zeros(draws)
    for values in by_split.values():
        over_seeds = np.asarray(values, dtype=np.float64).sum(axis=0)
        for draw in range(draws):
            sums[draw] += over_seeds[rng.integers(len(over_seeds), size=len(over_seeds))].mean()
    low, high = np.percentile(100 * sums / len(per_seed), _INTERVAL)
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

    def interval(self) -> Interval:
        """Of Rank-1."""
        return bootstrap([(r.manifest, r.rank1) for r in self.results])

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

    def against(self, other: Summary) -> tuple[float, Interval] | None:
        """Gain in Rank-1 over another row on the same queries, seed by seed; None without a common seed."""
        theirs = {r.seed: r for r in other.results}
        pairs = [(r, theirs[r.seed]) for r in self.results if r.seed in theirs]
        if not pairs:
            return None
        assert all(a.manifest == b.manifest for a, b in pairs)
        differences = [(a.manifest, np.subtract(a.rank1, b.rank1).tolist()) for a, b in pairs]
        return 100 * float(np.mean([np.mean(d) for _, d in differences])), bootstrap(differences)


def iterations_to_reach(result: RowResult, rank1: float) -> int | None:
    """The first validated iteration at which a row's validation Rank-1 (percent) is at least that; None if never."""
    return next((iteration for iteration, value in result.curve if value >= rank1), None)


def markdown(title: str, table: PaperTable | None, rows: Sequence[Summary], notes: Sequence[str]) -> str:
    """The table as a document."""
    parts = [f"# {title}", _main_table(rows), _upper(rows)]
    if table is not None:
        parts.append(_beside_paper(rows))
    parts += [_per_r_table(rows), _gains(rows), _training_table(rows), "\n".join(f"- {n}" for n in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(rows: Sequence[Summary]) -> dict[str, Any]:
    """Plain figures of every row."""
    plain: dict[str, Any] = {}
    for row in rows:
        columns = {name: row.column(name) for name in _COLUMNS}
        interval = row.interval()
        plain[row.recipe] = {
            "label": row.label,
            "seeds": [r.seed for r in row.results],
            "figures": {k: {"mean": v[0], "std": v[1]} for k, v in columns.items() if v is not None},
            "rank1_interval": [interval.low, interval.high],
            "per_r": row.per_r(),
            "paper": dict(row.paper),
            "health": [r.health for r in row.results],
            "step_ms": [r.step_ms for r in row.results],
        }
    return plain


def _main_table(rows: Sequence[Summary]) -> str:
    seeds = len({r.seed for row in rows for r in row.results})
    header = ["", *_COLUMNS, "Rank-1, 95 % over queries"]
    lines = [header]
    for row in rows:
        cells = [_cell(row.column(name), name) for name in _COLUMNS]
        lines.append([f"{row.label} (`{row.recipe}`)", *cells, str(row.interval())])
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return f"{markdown_lines(lines)}\n\n{spread[0].upper()}{spread[1:]}; percent, dB."


def _upper(rows: Sequence[Summary]) -> str:
    found = []
    for name in ("Rank-1", "mAP", "multi-shot Rank-1"):
        # a fine-tuned C, or a gallery that G has changed, has an upper bound of its own
        shared = [
            row
            for row in rows
            if RECIPES[row.recipe].trains != "critic"
            and "evaluation.gallery" not in RECIPES[row.recipe].changes
        ]
        values = {r.seed: r.upper[name] for row in shared for r in row.results if name in r.upper}
        if values:
            found.append(f"{name} {_cell(mean_std(list(values.values())), name)}")
    return f"HR queries through the same C (upper bound): {', '.join(found)}." if found else ""


def _beside_paper(rows: Sequence[Summary]) -> str:
    lines = [["", "ours", "the paper's", "difference"]]
    for row in rows:
        for name, reported in row.paper.items():
            found = row.column(name)
            if found is not None:
                digits = 3 if name == "SSIM" else 1
                cells = [f"{v:.{digits}f}" for v in (found[0], reported)]
                lines.append([f"{row.label}: {name}", *cells, f"{found[0] - reported:+.{digits}f}"])
    return "Beside the paper:\n\n" + markdown_lines(lines) if len(lines) > 1 else ""


def _per_r_table(rows: Sequence[Summary]) -> str:
    rates = sorted({r for row in rows for r in row.per_r() if r})
    if not rates:
        return ""
    seen = {value for row in rows for result in row.results for value in result.r}
    lines = [["Rank-1 at", *(f"r = {r}" + ("" if r in seen else " (not in the split)") for r in rates)]]
    for row in rows:
        found = row.per_r()
        lines.append([row.label, *(f"{found[r]:.1f}" if r in found else "–" for r in rates)])
    return markdown_lines(lines)


def _gains(rows: Sequence[Summary]) -> str:
    by_name = {row.recipe: row for row in rows}
    lines = [["gain in Rank-1, paired by query", "points", "95 % over queries"]]
    for row in rows:
        for name in REFERENCES:
            if RECIPES[row.recipe].trains != "generator" or name not in by_name or name == row.recipe:
                continue
            found = row.against(by_name[name])
            if found is not None:
                lines.append([f"{row.label} over `{name}`", f"{found[0]:+.1f}", str(found[1])])
    return markdown_lines(lines) if len(lines) > 1 else ""


def _training_table(rows: Sequence[Summary]) -> str:
    """What a row costs, how soon it is as good as the baseline in the end, and whether φ learned anything."""
    baseline = {
        r.seed: r.curve[-1][1] for row in rows if row.recipe == "mse+id+gan" for r in row.results if r.curve
    }
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
        steps = [r.step_ms for r in row.results if r.step_ms is not None]
        if not steps:
            continue
        last = [r.curve[-1][1] for r in row.results if r.curve]
        reached = [
            iterations_to_reach(r, baseline[r.seed]) for r in row.results if r.curve and r.seed in baseline
        ]
        health = [r.health for r in row.results if "validation/r2" in r.health]
        r2 = (
            " / ".join(
                f"{np.mean([h[name] for h in health]):.2f}"
                for name in ("validation/r2", "validation/r2_ridge")
            )
            if health
            else "–"
        )
        lines.append(
            [
                row.label,
                f"{np.mean(steps):.0f}",
                _cell(mean_std(last), "") if last else "–",
                ", ".join("never" if n is None else str(n) for n in reached) or "–",
                r2,
            ]
        )
    return markdown_lines(lines) if len(lines) > 1 else ""


def _cell(found: tuple[float, float | None] | None, name: str) -> str:
    if found is None:
        return "–"
    mean, deviation = found
    digits = 3 if name == "SSIM" else 1
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def summaries(
    names: Sequence[str], results: Mapping[str, Sequence[RowResult]], table: PaperTable | None, dataset: str
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
            {} if table is None else table.reported(dataset, name),
        )
        for name in names
        if results.get(name)
    ]
