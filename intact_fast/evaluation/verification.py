"""Verification: similarities of matching and other pairs, and thresholds that tell them apart.

The similarity is the cosine of features, as ``search`` prints it, whichever distance ranked the table. It is plain also
where the ranking was re-ranked: a re-ranked distance depends on the whole gallery, so that no threshold of it means
anything for another gallery.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intact_fast.config.options import SameCamera
from intact_fast.data.matches import camids_for_matching
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.ranking import JUNK_PID
from intact_fast.evaluation.views import View
from intact_fast.serving.thresholds import RATES, Threshold, supports

HISTOGRAM_RATE = 1e-3
"""False-match rate whose threshold the histogram shows."""
_BINS = 2048
EDGES = np.linspace(-1, 1, _BINS + 1)
"""Edges of the bins that similarities are counted in, float64, ascending."""


@dataclass(frozen=True, eq=False)
class PairSimilarities:
    """Similarities between the queries of one view and the gallery.

    Queries are those that the ranking scored. Matches show the query's person in another camera; non-matches show
    another person, or a distractor. Junk, the same person in the same camera, is left out. Where the evaluation keeps
    the query's camera, every other picture of the query's person is a match.

    Attributes:
        matches: M float32, ascending.
        highest_non_matches: The greatest similarities of non-matches, float32, ascending: as many as the thresholds
            need.
        total_non_matches: Number of all non-matches.
        best_matches: Q float32: of each query the greatest similarity of a match.
        best_non_matches: Q float32: of each query the greatest similarity of a non-match; -2 where there is none.
        people: Whose queries they are.
        match_counts: Matches per bin of `EDGES`, int64.
        non_match_counts: Non-matches per bin, int64.
        rates: False-match rates that thresholds are wanted for.
        same_camera: What the query's person in the query's camera is.
    """

    matches: np.ndarray
    highest_non_matches: np.ndarray
    total_non_matches: int
    best_matches: np.ndarray
    best_non_matches: np.ndarray
    people: int
    match_counts: np.ndarray
    non_match_counts: np.ndarray
    rates: tuple[float, ...] = RATES
    same_camera: SameCamera = "drop"


def pair_similarities(evaluation: Evaluation, rates: Sequence[float] = RATES) -> dict[View, PairSimilarities]:
    """Measure matches and non-matches under each view of an evaluation, without those of test-time options.

    Memory: a block of the similarity matrix, all matches, and twice the share of the largest rate of the non-matches.

    Args:
        evaluation: Features and rows; its distance is not used.
        rates: The false-match rates, below 1, that `thresholds` will be asked for.
    """
    return {view: _measure(evaluation, view, tuple(rates)) for view in evaluation.plain_views}


def _measure(evaluation: Evaluation, view: View, rates: tuple[float, ...]) -> PairSimilarities:
    queries = np.flatnonzero(evaluation.rankings[view].valid)
    sides = evaluation.query_entries, evaluation.gallery_entries
    pids, gallery_pids = (np.array([entry.pid for entry in entries]) for entries in sides)
    same_camera = evaluation.config.same_camera
    cameras, gallery_cameras = camids_for_matching(*sides, same_camera)
    counted = gallery_pids != JUNK_PID
    total = sum(int((counted & (gallery_pids != pid)).sum()) for pid in pids[queries])
    highest = _Highest(math.floor(max(*rates, HISTOGRAM_RATE) * total) + 1)
    matches: list[np.ndarray] = []
    best_matches, best_non_matches = (np.empty(len(queries), np.float32) for _ in range(2))
    match_counts, non_match_counts = (np.zeros(_BINS, np.int64) for _ in range(2))
    features = evaluation.query_features[view][queries]
    for rows, distances in distance_blocks(features, evaluation.gallery_features, "cosine"):
        # rounding must not carry a similarity out of the last bin
        block = np.clip(1 - distances, -1, 1)
        of_block = queries[rows, None]
        same = pids[of_block] == gallery_pids
        is_match = same & (cameras[of_block] != gallery_cameras)
        is_other = ~same & counted
        best_matches[rows] = np.max(block, axis=1, where=is_match, initial=-2)
        best_non_matches[rows] = np.max(block, axis=1, where=is_other, initial=-2)
        of_matches, of_others = block[is_match], block[is_other]
        matches.append(of_matches)
        match_counts += np.histogram(of_matches, _BINS, (-1, 1))[0]
        non_match_counts += np.histogram(of_others, _BINS, (-1, 1))[0]
        highest.add(of_others)
    return PairSimilarities(
        np.sort(np.concatenate(matches)),
        np.sort(highest.values),
        total,
        best_matches,
        best_non_matches,
        len(np.unique(pids[queries])),
        match_counts,
        non_match_counts,
        rates,
        same_camera,
    )


class _Highest:
    """The ``count`` greatest of values that come in pieces; up to twice as many, and a piece, are in memory."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pieces = [np.empty(0, np.float32)]
        self._floor = -np.inf

    def add(self, values: np.ndarray) -> None:
        self._pieces.append(values[values > self._floor])
        # one by one, as a look at all of them for each piece takes long
        if sum(map(len, self._pieces)) > 2 * self._count:
            self._shrink()

    def _shrink(self) -> None:
        values = np.concatenate(self._pieces)
        if len(values) >= self._count:
            values = np.partition(values, -self._count)[-self._count :]
            self._floor = values[0]
        self._pieces = [values]

    @property
    def values(self) -> np.ndarray:
        self._shrink()
        return self._pieces[0]


def thresholds(pairs: PairSimilarities, rates: Sequence[float] | None = None) -> list[Threshold]:
    """Find the smallest thresholds whose false-match rates are not above those asked for.

    Rates that the non-matches are too few for are left out; see `supports`.

    Args:
        pairs: From `pair_similarities`, measured for these rates.
        rates: False-match rates, none above those; None takes those themselves.
    """
    result = []
    others, total = pairs.highest_non_matches, pairs.total_non_matches
    for rate in pairs.rates if rates is None else rates:
        if not supports(rate, total):
            continue
        # the first non-match that must not be accepted, and none at its similarity is
        limit = others[-1 - math.floor(rate * total)]
        false, true = _above(others, limit), _above(pairs.matches, limit)
        result.append(Threshold(rate, float(limit), false / total, true / len(pairs.matches)))
    return result


def accepted(pairs: PairSimilarities, similarity: float) -> tuple[float, float | None]:
    """Say which shares of matches and of non-matches a threshold from elsewhere accepts.

    Args:
        pairs: From `pair_similarities`.
        similarity: The threshold.

    Returns:
        The share of matches, and that of non-matches, which is None where it is more than the rates asked for.
    """
    others = pairs.highest_non_matches
    true = _above(pairs.matches, similarity) / len(pairs.matches)
    if len(others) < pairs.total_non_matches and similarity < others[0]:
        return true, None
    return true, _above(others, similarity) / max(pairs.total_non_matches, 1)


def _above(ascending: np.ndarray, limit: float) -> int:
    """Count values, which ascend, that are greater than a limit."""
    return len(ascending) - int(np.searchsorted(ascending, limit, side="right"))
