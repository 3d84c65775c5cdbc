"""Records of a table of ``intact-fast experiments``: from the table's JSON to the fields of a training's record."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

BOUND = "HR queries"
"""The row of the upper bound."""


def spread(mean: float, deviation: float | None) -> dict[str, float]:
    """Give a figure over seeds as a record has it, from what `intact_fast.experiments.summary.mean_std` gives."""
    return {"mean": round(mean, 3)} | ({} if deviation is None else {"std": round(deviation, 3)})


def rows_of_table(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Give the headline, the rows and how they were measured; figures have 3 decimals.

    Args:
        table: Rows by recipe, as `intact_fast.experiments.summary.as_json` writes them.
    """
    rows = {recipe: _row(recipe, row) for recipe, row in table.items()}
    bound = next((row["upper"] for name, row in table.items() if row.get("upper") and name != "critic-mlr"), None)
    if bound is not None:
        rows[BOUND] = {"figures": _rounded(bound)}
    trained = {name: row["figures"]["Rank-1"]["mean"] for name, row in rows.items() if name != BOUND}
    best = max(trained, key=lambda name: trained[name])
    return {
        "headline": f"Best of {len(trained)} rows is {best} with a single-shot Rank-1 of {trained[best]:.1f} %.",
        "protocol": next(iter(table.values()))["protocol"],
        "interval_over": "people",
        "rows": rows,
    }


def _row(recipe: str, row: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "recipe": recipe,
        "seeds": row["seeds"],
        "figures": {name: _without_none(figure) for name, figure in row["figures"].items()},
        "interval": row["rank1_interval"],
        "by_r": {str(r): value for r, value in row["per_r"].items()},
        "gains": row["gains"],
        "reached": row["reached"],
        "health": _mean(row["health"]),
        "step_ms": _mean([{"median": value} for value in row["step_ms"] if value is not None]).get("median"),
    }
    return {name: _rounded(value) for name, value in found.items() if value not in ({}, [], None)}


def _without_none(figure: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figure.items() if value is not None}


def _mean(by_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for seed in by_seed for name in seed)
    return {name: statistics.fmean(seed[name] for seed in by_seed if name in seed) for name in names}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
