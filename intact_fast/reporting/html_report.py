"""``report.html``: the report of a run as an interactive page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from intact_fast.data.manifest import Entry
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.verification import PairSimilarities
from intact_fast.evaluation.views import View
from intact_fast.reporting.curves import Metrics, curve_panels
from intact_fast.reporting.embedding import EmbeddedPictures
from intact_fast.reporting.histogram import similarity_panels
from intact_fast.reporting.html_page import write_html
from intact_fast.reporting.pictures import to_images
from intact_fast.reporting.ranked_lists import Choice, RankedList, ap_changes
from intact_fast.reporting.report import gain_sentences
from intact_fast.reporting.tables import (
    describe_left_out,
    describe_protocol,
    figures,
    table_cells,
    unreadable_sentence,
)
from intact_fast.reporting.threshold_tables import ThresholdTable

_SHORT: dict[View, str] = {"lr": "LR", "sr": "SR", "hr": "HR"}
_UNCHANGED = 1e-9


@dataclass(frozen=True, eq=False)
class Ranked:
    """Ranked lists that the page shows.

    Attributes:
        choice: Whose they are.
        lists: From `lists_by_view`, of all queries of the choice.
        upper_bound: The same of HR, where there is one; its first match alone is told.
    """

    choice: Choice
    lists: Mapping[View, Mapping[int, RankedList]]
    upper_bound: Mapping[int, RankedList]


def write_html_report(
    path: Path,
    source: PictureSource,
    evaluation: Evaluation,
    ranked: Ranked,
    triptychs: Sequence[int],
    pairs: Mapping[View, PairSimilarities],
    thresholds: Sequence[ThresholdTable],
    metrics: Metrics,
    files: Mapping[str, Path],
    notes: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: File to write, in the run's folder.
        source: Reads the pictures and holds the evaluated model.
        evaluation: What was measured.
        ranked: The ranked lists.
        triptychs: Rows of the queries that are shown as LR, SR and HR.
        pairs: From `pair_similarities`.
        thresholds: From `threshold_tables`.
        metrics: From `read_metrics`.
        files: What to point at, by name; in the run's folder.
        notes: Sentences about how the run was made.
    """
    pictures = EmbeddedPictures()
    shown = _embed_queries(pictures, source, evaluation, sorted({*ranked.choice.rows, *triptychs}))
    gallery = sorted(
        {row for by_query in ranked.lists.values() for q in ranked.choice.rows for row in by_query[q].rows}
    )
    _embed_gallery(pictures, source, evaluation, gallery)
    curves, histograms = curve_panels(metrics), similarity_panels(pairs, evaluation.names)
    plain = figures(evaluation)
    unreadable = unreadable_sentence(evaluation)
    data = {
        "kind": "report",
        "lists": [{"view": view, "label": _SHORT[view], "title": evaluation.names[view]} for view in ranked.lists],
        "score": "distance",
        "queries": [
            _query(evaluation, row, number, ranked, shown[row]) for number, row in enumerate(ranked.choice.rows)
        ],
        "gallery": {
            row: [entry.path, pictures.place(("gallery", row)), entry.pid, entry.camera]
            for row, entry in ((row, evaluation.gallery_entries[row]) for row in gallery)
        },
        "pictures": pictures.addresses,
        "plots": {"curves": curves, "similarities": histograms},
    }
    context = {
        "title": f"{path.parent.resolve().name}: {plain['dataset']}",
        "subtitle": (
            f"{plain['queries']:,} queries, {plain['gallery']:,} gallery pictures, split `{plain['manifest'][:12]}`"
        ),
        "table": table_cells(evaluation),
        "sentences": [
            _capitalised(describe_protocol(evaluation.config)) + ".",
            *([] if unreadable is None else [unreadable]),
            *gain_sentences(evaluation),
        ],
        "notes": [_capitalised(note) for note in notes],
        "curves": curves,
        "histograms": histograms,
        "thresholds": thresholds,
        "triptychs": [(evaluation.query_entries[row], shown[row]) for row in triptychs],
        "pictures": pictures.addresses,
        "labels": _SHORT,
        "choice": _describe(ranked.choice),
        "balance": _balance(evaluation),
        "reranked": evaluation.config.rerank,
        "left_out": describe_left_out(evaluation.config),
        "sorts": _sorts(ranked.lists),
        "rates": sorted({r for row in ranked.choice.rows if (r := evaluation.query_entries[row].r) is not None}),
        "native": any(evaluation.query_entries[row].r is None for row in ranked.choice.rows),
        "files": [(name, file.relative_to(path.parent).as_posix()) for name, file in files.items()],
        "size": source.model.size,
        "quote": quote,
    }
    write_html(path, "report.html.j2", data, context, plots=True)


def _embed_queries(
    pictures: EmbeddedPictures, source: PictureSource, evaluation: Evaluation, rows: Sequence[int]
) -> dict[int, dict[View, int]]:
    """Embed queries as LR, SR and HR; natively LR ones have no HR picture. Gives their places by row and view."""
    places: dict[int, dict[View, int]] = {}
    entries = [evaluation.query_entries[row] for row in rows]
    batches = source.batches_of_variants(entries, ("lr", "hr"))
    pairs = ((batch.pictures["lr"], batch.pictures["hr"]) for batch in batches)
    triples: Iterator[tuple[Image.Image, Image.Image, Image.Image]] = (
        images
        for x_l, x_h in pairs
        for images in zip(*map(to_images, (x_l, source.model.generate(x_l), x_h)), strict=True)
    )
    for row, entry, (lr, sr, hr) in zip(rows, entries, triples, strict=True):
        by_view: dict[View, Image.Image] = {"lr": lr}
        if source.model.generator is not None:
            by_view["sr"] = sr
        if entry.r is not None:
            by_view["hr"] = hr
        places[row] = {view: pictures.add((view, row), image) for view, image in by_view.items()}
    return places


def _embed_gallery(
    pictures: EmbeddedPictures, source: PictureSource, evaluation: Evaluation, rows: Sequence[int]
) -> None:
    batches = source.batches([evaluation.gallery_entries[row] for row in rows], degraded=False)
    images: Iterable[Image.Image] = (image for batch in batches for image in to_images(batch))
    for row, image in zip(rows, images, strict=True):
        pictures.add(("gallery", row), image, small=True)


def _query(
    evaluation: Evaluation,
    row: int,
    number: int,
    ranked: Ranked,
    places: Mapping[View, int],
) -> dict[str, Any]:
    """Describe one query to the scripts; ``keys`` holds what it can be sorted by."""
    entry: Entry = evaluation.query_entries[row]
    # rankings hold scored queries alone
    scored = int(np.count_nonzero(evaluation.rankings[next(iter(evaluation.rankings))].valid[:row]))
    rankings = {view: evaluation.rankings[view] for view in evaluation.plain_views}
    precisions = {view: 100 * float(ranking.ap_per_query[scored]) for view, ranking in rankings.items()}
    firsts = {view: by_query[row].first_match for view, by_query in ranked.lists.items()}
    keys: dict[str, Any] = {"name": entry.path, "order": number}
    keys |= {f"rank_{view}": first for view, first in firsts.items()}
    if row in ranked.upper_bound:
        firsts["hr"] = ranked.upper_bound[row].first_match
    change = None
    if "lr" in precisions and "sr" in precisions:
        keys["gain"] = change = round(precisions["sr"] - precisions["lr"], 2)
    return {
        "name": entry.path,
        "pid": entry.pid,
        "camera": entry.camera,
        "r": entry.r,
        "pictures": places,
        "first": firsts,
        "ap": {view: round(value, 1) for view, value in precisions.items()},
        "change": change,
        "moved": _moved(firsts),
        "keys": keys,
        "hits": {
            view: [
                [hit, float(f"{distance:.4g}"), int(evaluation.gallery_entries[hit].pid == entry.pid)]
                for hit, distance in zip(by_query[row].rows, by_query[row].distances, strict=True)
            ]
            for view, by_query in ranked.lists.items()
        },
    }


def _moved(firsts: Mapping[View, int | None]) -> int:
    """Say where SR moves the first right match: 1 forward, -1 back, 0 nowhere."""
    before, after = firsts.get("lr"), firsts.get("sr")
    if before is None or after is None:
        return 0
    return (before > after) - (before < after)


def _sorts(lists: Mapping[View, Mapping[int, RankedList]]) -> list[dict[str, Any]]:
    sorts = []
    if "lr" in lists and "sr" in lists:
        sorts += [
            {"key": "gain", "label": "Greatest gain", "field": "gain", "sign": -1},
            {"key": "loss", "label": "Greatest loss", "field": "gain", "sign": 1},
        ]
    for view in lists:
        sorts += [
            {"key": view, "label": f"{_SHORT[view]} rank, worst first", "field": f"rank_{view}", "sign": -1},
            {"key": f"{view}-best", "label": f"{_SHORT[view]} rank, best first", "field": f"rank_{view}", "sign": 1},
        ]
    return [*sorts, {"key": "name", "label": "File name", "field": "name", "sign": 1}]


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _describe(choice: Choice) -> str:
    """Say which queries are shown."""
    shown = len(choice.rows)
    if shown == choice.scored:
        return f"All {shown:,} scored queries are shown."
    rest = shown - choice.gains - choice.losses
    return (
        f"{shown:,} of {choice.scored:,} scored queries are shown: the {choice.gains:,} greatest gains of AP, "
        f"the {choice.losses:,} greatest losses, and {rest:,} of the others at equal distances. "
        "`intact-fast report RUN --html-queries N` shows N."
    )


def _balance(evaluation: Evaluation) -> dict[str, int] | None:
    """Count the scored queries whose AP rises, stays and falls with SR."""
    changes = ap_changes(evaluation)
    if changes is None:
        return None
    rises, falls = int((changes > _UNCHANGED).sum()), int((changes < -_UNCHANGED).sum())
    return {"rises": rises, "stays": len(changes) - rises - falls, "falls": falls}
