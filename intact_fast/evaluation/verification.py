"""Verification: distances of matching and other pairs, and thresholds that tell them apart.

Distances are those between features, also where the ranking was re-ranked. A re-ranked distance depends on the whole
gallery, so that no threshold of it means anything for another gallery.
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

RATES = (1e-2, 1e-3, 1e-4)
"""False-match rates that thresholds are given for."""
HISTOGRAM_RATE = 1e-3
"""False-match rate whose threshold the histogram shows."""
FEWEST_FALSE = 10
"""Rates at which fewer false matches are expected are left out: too few to estimate a rate from."""
_BINS = 2048


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Distances between the queries of one view and the gallery.

    Queries are those that the ranking scored. Matches show the query's person in another camera; non-matches show
    another person, or a distractor. Junk, the same person in the same camera, is left out. Where the evaluation keeps
    the query's camera, every other picture of the query's person is a match.

    Attributes:
        matches: M float32, ascending.
        nearest_non_matches: The smallest distances of non-matches, float32, ascending: as many as the thresholds need.
        total_non_matches: Number of all non-matches.
        edges: B+1 float64: bins of equal width from 0 to the greatest distance that is possible, the same for all
            views of an evaluation.
        match_counts: B int64, matches per bin.
        non_match_counts: B int64, non-matches per bin.
        rates: False-match rates that thresholds are wanted for.
        same_camera: What the query's person in the query's camera is.
    """

    matches: np.ndarray
    nearest_non_matches: np.ndarray
    total_non_matches: int
    edges: np.ndarray
    match_counts: np.ndarray
    non_match_counts: np.ndarray
    rates: tuple[float, ...] = RATES
    same_camera: SameCamera = "drop"


@dataclass(frozen=True)
class Threshold:
    """Pairs at a smaller ``distance`` are taken for matches.

    Attributes:
        rate: Share of non-matches that may be accepted.
        distance: The greatest such threshold.
        false_match_rate: Share of non-matches that it accepts, at most ``rate``.
        true_match_rate: Share of matches that it accepts.
    """

    rate: float
    distance: float
    false_match_rate: float
    true_match_rate: float


def pair_distances(evaluation: Evaluation, rates: Sequence[float] = RATES) -> dict[View, PairDistances]:
    """Measure matches and non-matches under each view of an evaluation, without those of test-time options.

    Memory: a block of the distance matrix, all matches, and the share of the largest rate of the non-matches.

    Args:
        evaluation: Features, rows and metric.
        rates: The false-match rates, below 1, that `thresholds` will be asked for.
    """
    greatest = _greatest_distance(evaluation)
    return {view: _measure(evaluation, view, tuple(rates), greatest) for view in evaluation.plain_views}


def _greatest_distance(evaluation: Evaluation) -> float:
    if evaluation.config.metric == "cosine":
        greatest = 2.0
    else:
        longest = max(float(evaluation.query_features[v].norm(dim=1).max()) for v in evaluation.plain_views)
        greatest = longest + float(evaluation.gallery_features.norm(dim=1).max())
    # rounding must not carry a distance out of the last bin; features of length 0 still need a bin
    return 1.001 * greatest or 1.0


def _measure(evaluation: Evaluation, view: View, rates: tuple[float, ...], greatest: float) -> PairDistances:
    queries = np.flatnonzero(evaluation.rankings[view].valid)
    sides = evaluation.query_entries, evaluation.gallery_entries
    pids, gallery_pids = (np.array([entry.pid for entry in entries]) for entries in sides)
    same_camera = evaluation.config.same_camera
    cameras, gallery_cameras = camids_for_matching(*sides, same_camera)
    counted = gallery_pids != JUNK_PID
    total = sum(int((counted & (gallery_pids != pid)).sum()) for pid in pids[queries])
    nearest = _Nearest(math.floor(max(*rates, HISTOGRAM_RATE) * total) + 1)
    matches: list[np.ndarray] = []
    match_counts, non_match_counts = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
    features = evaluation.query_features[view][queries]
    for rows, block in distance_blocks(features, evaluation.gallery_features, evaluation.config.metric):
        of_block = queries[rows, None]
        same = pids[of_block] == gallery_pids
        of_matches = block[same & (cameras[of_block] != gallery_cameras)]
        of_others = block[~same & counted]
        matches.append(of_matches)
        match_counts += np.histogram(of_matches, _BINS, (0, greatest))[0]
        non_match_counts += np.histogram(of_others, _BINS, (0, greatest))[0]
        nearest.add(of_others)
    return PairDistances(
        np.sort(np.concatenate(matches)),
        np.sort(nearest.values),
        total,
        np.linspace(0, greatest, _BINS + 1),
        match_counts,
        non_match_counts,
        rates,
        same_camera,
    )


class _Nearest:
    """The ``count`` smallest of values that come in pieces."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.values = np.empty(0, np.float32)

    def add(self, values: np.ndarray) -> None:
        if len(self.values) == self._count:
            values = values[values < self.values.max()]
        self.values = np.concatenate([self.values, values])
        if len(self.values) > self._count:
            self.values = np.partition(self.values, self._count - 1)[: self._count]


def thresholds(distances: PairDistances, rates: Sequence[float] | None = None) -> list[Threshold]:
    """Find the greatest thresholds whose false-match rates are not above those asked for.

    Rates at which fewer than `FEWEST_FALSE` false matches are expected are left out.

    Args:
        distances: From `pair_distances`, measured for these rates.
        rates: False-match rates, none above those; None takes those themselves.
    """
    result = []
    for rate in distances.rates if rates is None else rates:
        if rate * distances.total_non_matches < FEWEST_FALSE:
            continue
        # the first non-match that must not be accepted, and none at its distance is
        limit = distances.nearest_non_matches[math.floor(rate * distances.total_non_matches)]
        false = int(np.searchsorted(distances.nearest_non_matches, limit))
        true = int(np.searchsorted(distances.matches, limit))
        result.append(Threshold(rate, float(limit), false / distances.total_non_matches, true / len(distances.matches)))
    return result
