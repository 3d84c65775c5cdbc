"""The gallery as single queries rank it, and the queries whose lists are worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intact_fast.data.matches import camids_for_matching
from intact_fast.data.sampling import evenly_spaced
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.ranking import JUNK_PID
from intact_fast.evaluation.reranking import reranked_blocks
from intact_fast.evaluation.views import View


@dataclass(frozen=True, eq=False)
class RankedList:
    """The head of one query's list.

    Attributes:
        rows: Rows of ``evaluation.gallery_entries``, the nearest first.
        distances: Their distances.
        first_match: Rank of the first picture of the query's person; None where the gallery has none.
    """

    rows: list[int]
    distances: list[float]
    first_match: int | None


def lists_by_view(
    evaluation: Evaluation, queries: Sequence[int], top: int, distractor_pid: int | None = None
) -> dict[View, dict[int, RankedList]]:
    """Rank the gallery for some queries as LR and as SR, where the evaluation has these views; see `ranked_lists`."""
    views: tuple[View, ...] = ("lr", "sr")
    found = {view: ranked_lists(evaluation, view, queries, top, distractor_pid) for view in views}
    return {view: lists for view, lists in found.items() if lists}


def ranked_lists(
    evaluation: Evaluation, view: View, queries: Sequence[int], top: int, distractor_pid: int | None = None
) -> dict[int, RankedList]:
    """Rank the gallery for some queries by the distances that were scored; nothing of a view that was not.

    Junk is left out. A wrong picture at a right one's distance stands before it, as in the scores.

    Args:
        evaluation: Features and rows.
        view: How C saw the queries.
        queries: Rows of ``evaluation.query_entries``.
        top: Length of the lists.
        distractor_pid: The pid that marks distractors, which the configuration may drop.
    """
    if view not in evaluation.query_features:
        return {}
    pids = np.array([entry.pid for entry in evaluation.gallery_entries])
    camids, gallery_camids = camids_for_matching(
        evaluation.query_entries, evaluation.gallery_entries, evaluation.config.same_camera
    )
    counted = pids != JUNK_PID
    if evaluation.config.distractors == "drop" and distractor_pid is not None:
        counted &= pids != distractor_pid
    found = {}
    for query, distances in _distances(evaluation, view, queries):
        entry = evaluation.query_entries[query]
        same = pids == entry.pid
        rows = np.flatnonzero(counted & ~(same & (gallery_camids == camids[query])))
        right, near = same[rows], distances[rows]
        order = np.lexsort((right, near))[:top]
        first = None
        if right.any():
            first = 1 + int((near[~right] <= near[right].min()).sum())
        found[query] = RankedList(rows[order].tolist(), near[order].tolist(), first)
    return found


def _distances(evaluation: Evaluation, view: View, queries: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    """Compute the distances that were scored: G float32 per query."""
    wanted = sorted(set(queries))
    if not wanted:
        return []
    features, gallery, metric = evaluation.query_features[view], evaluation.gallery_features, evaluation.config.metric
    if not evaluation.config.rerank:
        blocks = distance_blocks(features[wanted], gallery, metric)
        return [(wanted[rows.start + i], line) for rows, block in blocks for i, line in enumerate(block)]
    # all queries are neighbours in re-ranking, whichever are shown
    return [
        (query, block[query - rows.start].copy())
        for rows, block in reranked_blocks(features, gallery, metric)
        for query in wanted
        if rows.start <= query < rows.stop
    ]


def ap_changes(evaluation: Evaluation) -> np.ndarray | None:
    """AP with SR less AP without: V float64, one for each scored query; None where a view is missing."""
    if "sr" not in evaluation.rankings or "lr" not in evaluation.rankings:
        return None
    return evaluation.rankings["sr"].ap_per_query - evaluation.rankings["lr"].ap_per_query


@dataclass(frozen=True)
class Choice:
    """Queries that are shown of those that were scored.

    Attributes:
        rows: Rows of ``evaluation.query_entries``, ascending.
        scored: Number of scored queries.
        gains: Those among ``rows`` chosen for the greatest gains of AP.
        losses: Those chosen for the greatest losses.
    """

    rows: list[int]
    scored: int
    gains: int = 0
    losses: int = 0


def choose_queries(evaluation: Evaluation, count: int) -> Choice:
    """Choose scored queries: a third for gains of AP, a third for losses, and others at equal distances.

    Args:
        evaluation: What was measured.
        count: How many; all where there are no more.
    """
    scored = np.flatnonzero(next(iter(evaluation.rankings.values())).valid)
    changes = ap_changes(evaluation)
    if len(scored) <= count or changes is None:
        return Choice(evenly_spaced(scored.tolist(), count), len(scored))
    order = np.argsort(-changes, kind="stable")
    gains = order[changes[order] > 0][: count // 3]
    losses = order[changes[order] < 0][::-1][: count // 3]
    extreme = np.concatenate([gains, losses])
    others = np.setdiff1d(np.arange(len(scored)), extreme)
    sample = evenly_spaced(others.tolist(), count - len(extreme))
    rows = sorted(scored[[*extreme, *sample]].tolist())
    return Choice(rows, len(scored), len(gains), len(losses))
