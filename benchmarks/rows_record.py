"""A training's record from the rows of several tables: ``python -m benchmarks.rows_record SPEC.json``.

The specification says what rows there are, and which result files of `intact-fast experiments` hold their seeds::

    {"name": "cpu-2-cores-market1501-query-side", "headline": "…", "notes": ["…"], "machine": {"cpu": "…"},
     "commands": {"256×128": "intact-fast experiments --name full …"},
     "bound": "runs/full/light-seed0/result.json", "references": ["query-critic"],
     "rows": {"light": {"label": "…", "command": "256×128", "results": ["runs/full/light-seed0/result.json"]}}}

Rows are held against each of ``references`` of the same split, paired by query over the seeds that both
have. ``derived`` is taken as is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine_of, versions, write_record
from benchmarks.table_record import BOUND, spread
from intact_fast.experiments.results import RowResult
from intact_fast.experiments.summary import Summary, mean_std

_BY_SEED = ("Rank-1", "mAP", "multi-shot Rank-1")


def main(specification: str) -> None:
    """Write the record."""
    spec: dict[str, Any] = json.loads(Path(specification).read_text(encoding="utf-8"))
    summaries = {name: _summary(name, row["results"]) for name, row in spec["rows"].items()}
    references = {name: summaries[name] for name in spec.get("references", ())}
    rows = {name: _row(summaries[name], spec["rows"][name], references) for name in summaries}
    if "bound" in spec:
        rows[BOUND] = {
            "figures": {name: {"mean": round(value, 3)} for name, value in _read(spec["bound"]).upper.items()}
        }
    record = {
        "kind": "training",
        "headline": spec["headline"],
        "machine": {**machine_of(torch.device("cpu")), **spec.get("machine", {})},
        "versions": versions("torch", "nvidia-dali-cuda130", "pillow", "numpy"),
        "commands": spec["commands"],
        "notes": spec.get("notes", []),
        "interval_over": "people",
        "rows": rows,
        **({"derived": spec["derived"]} if "derived" in spec else {}),
    }
    print(f"record: {write_record(record, spec['name'])}")


def _read(path: str) -> RowResult:
    return RowResult(**json.loads(Path(path).read_text(encoding="utf-8")))


def _summary(name: str, paths: Sequence[str]) -> Summary:
    results = [_read(path) for path in paths]
    return Summary(name, results[0].recipe, results, {})


def _row(summary: Summary, given: Mapping[str, Any], references: Mapping[str, Summary]) -> dict[str, Any]:
    results = summary.results
    figures = {name: mean_std([r.figures[name] for r in results]) for name in results[0].figures}
    interval = summary.interval()
    return {
        "recipe": summary.recipe,
        **{key: given[key] for key in ("label", "command") if key in given},
        "seeds": [result.seed for result in results],
        "figures": {name: spread(*figure) for name, figure in figures.items()},
        "by_seed": [
            {name: round(r.figures[name], 3) for name in _BY_SEED if name in r.figures} for r in summary.results
        ],
        "interval": [round(interval.low, 2), round(interval.high, 2)],
        "by_r": {str(r): round(value, 3) for r, value in summary.per_r().items()},
        "gains": {
            name: _gain(summary, other)
            for name, other in references.items()
            if other is not summary and other.results[0].manifest == results[0].manifest
        },
    }


def _gain(summary: Summary, other: Summary) -> dict[str, Any]:
    """Difference of single-shot Rank-1; a row of one seed that trains nothing is held against each seed."""
    if len(other.results) == 1 and len(summary.results) > 1 and other.recipe == "lr":
        seeds = [_again(other.results[0], result.seed) for result in summary.results]
        other = Summary(other.label, other.recipe, seeds, other.paper)
    found = summary.gain_over(other)
    assert found is not None, (summary.label, other.label)
    points, interval = found
    return {"points": round(points, 3), "interval": [round(interval.low, 2), round(interval.high, 2)]}


def _again(result: RowResult, seed: int) -> RowResult:
    return RowResult(**{**vars(result), "seed": seed})


if __name__ == "__main__":
    main(*sys.argv[1:])
