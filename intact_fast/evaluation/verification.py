"""Is it the same person? Distances of matching and other pairs, and thresholds that tell them apart.

Distances are those between features, also where the ranking was re-ranked: a re-ranked distance depends on the
whole gallery, so that no threshold of it means anything for another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from intact_fast.data.manifest import Row
from intact_fast.evaluation.distances import Metric, distance_blocks
from intact_fast.evaluation.evaluator import VIEW_NAMES, Evaluation
from intact_fast.evaluation.features import View
from intact_fast.evaluation.plots import BLUE, GREY, ORANGE, save_figure, small_multiples

RATES = (1e-2, 1e-3, 1e-4)
"""False-match rates that thresholds are given for."""
SHOWN_RATE = 1e-3
"""The one whose threshold the histogram shows."""
FEWEST_FALSE = 10
"""Rates at which fewer false matches are expected are left out: too few to estimate a rate from."""
_BINS = 2048
_SHOWN_BINS = 80
# as `evaluate_ranking` has it
_JUNK_PID = -1


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Distances between the queries of one view and the gallery.

    Queries are those that the ranking scored. Matches show the query's person in another camera; non-matches show
    another person, or a distractor. Junk, the same person in the same camera, is left out.

    Attributes:
        matches: M float32, ascending.
        nearest_others: The smallest distances of non-matches, float32, ascending: as many as the thresholds need.
        others: Number of non-matches.
        edges: B+1 float64: bins of equal width from 0 to the greatest distance that is possible, the same for all
            views of an evaluation.
        match_counts: B int64, matches per bin.
        other_counts: B int64, non-matches per bin.
        rates: False-match rates that thresholds are wanted for.
    """

    matches: np.ndarray
    nearest_others: np.ndarray
    others: int
    edges: np.ndarray
    match_counts: np.ndarray
    other_counts: np.ndarray
    rates: tuple[float, ...] = RATES


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
    """Measure matches and non-matches under each view of an evaluation.

    Memory: a block of the distance matrix, all matches, and the share of the largest rate of the non-matches.

    Args:
        evaluation: Features, rows and metric.
        rates: The false-match rates, below 1, that `thresholds` will be asked for.
    """
    greatest = _greatest_distance(evaluation)
    return {view: _measure(evaluation, view, tuple(rates), greatest) for view in evaluation.query_features}


def _greatest_distance(evaluation: Evaluation) -> float:
    if evaluation.config.metric == "cosine":
        greatest = 2.0
    else:
        longest = max(float(f.norm(dim=1).max()) for f in evaluation.query_features.values())
        greatest = longest + float(evaluation.gallery_features.norm(dim=1).max())
    # rounding must not carry a distance out of the last bin; features of length 0 still need a bin
    return 1.001 * greatest or 1.0


def _measure(evaluation: Evaluation, view: View, rates: tuple[float, ...], greatest: float) -> PairDistances:
    queries = np.flatnonzero(evaluation.rankings[view].valid)
    pids, cameras = _identities(evaluation.query_rows)
    gallery_pids, gallery_cameras = _identities(evaluation.gallery_rows)
    counted = gallery_pids != _JUNK_PID
    total = sum(int((counted & (gallery_pids != pid)).sum()) for pid in pids[queries])
    nearest = _Nearest(math.floor(max(*rates, SHOWN_RATE) * total) + 1)
    matches: list[np.ndarray] = []
    match_counts, other_counts = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
    features = evaluation.query_features[view][queries]
    for rows, block in distance_blocks(features, evaluation.gallery_features, evaluation.config.metric):
        of_block = queries[rows, None]
        same = pids[of_block] == gallery_pids
        found = block[same & (cameras[of_block] != gallery_cameras)]
        others = block[~same & counted]
        matches.append(found)
        match_counts += np.histogram(found, _BINS, (0, greatest))[0]
        other_counts += np.histogram(others, _BINS, (0, greatest))[0]
        nearest.add(others)
    return PairDistances(
        np.sort(np.concatenate(matches)),
        np.sort(nearest.values),
        total,
        np.linspace(0, greatest, _BINS + 1),
        match_counts,
        other_counts,
        rates,
    )


def _identities(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row.pid for row in rows]), np.array([row.camera for row in rows])


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
    found = []
    for rate in distances.rates if rates is None else rates:
        if rate * distances.others < FEWEST_FALSE:
            continue
        # the first non-match that must not be accepted, and none at its distance is
        limit = distances.nearest_others[math.floor(rate * distances.others)]
        false = int(np.searchsorted(distances.nearest_others, limit))
        true = int(np.searchsorted(distances.matches, limit))
        found.append(Threshold(rate, float(limit), false / distances.others, true / len(distances.matches)))
    return found


def save_histogram(distances: Mapping[View, PairDistances], metric: Metric, path: Path) -> None:
    """Draw the densities of matches and non-matches per view, with the threshold of a false-match rate of 1e-3.

    Args:
        distances: From `pair_distances`.
        metric: Which distance it was, for the axis.
        path: PNG to write.
    """
    shown = _shown_bins(distances)
    figure, axes = small_multiples(len(distances), 1, (7.2, 2.1))
    for ax, (view, measured) in zip(axes, distances.items(), strict=True):
        for counts, colour, label in (
            (measured.other_counts, ORANGE, "non-matches"),
            (measured.match_counts, BLUE, "matches"),
        ):
            edges, density = _density(counts, measured.edges, shown)
            ax.stairs(density, edges, fill=True, color=colour, alpha=0.35)
            ax.stairs(density, edges, color=colour, linewidth=1.3, label=label)
        ax.set_xlim(edges[0], edges[-1])
        ax.set_title(VIEW_NAMES[view], fontsize=9, loc="left")
        ax.set_yticks([])
        _mark_threshold(ax, measured)
        # beside the title, where it covers no curve
        ax.legend(
            fontsize=7.5,
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=3,
            borderaxespad=0,
            columnspacing=1.2,
            handlelength=1.4,
        )
    axes[-1].set_xlabel(f"{metric} distance between features", fontsize=8, color=GREY)
    save_figure(figure, path)


def _mark_threshold(ax: Axes, measured: PairDistances) -> None:
    for threshold in thresholds(measured, [SHOWN_RATE]):
        ax.axvline(
            threshold.distance,
            color="#303030",
            linewidth=1.2,
            linestyle="--",
            label=f"below: {100 * SHOWN_RATE:g} % of non-matches, {100 * threshold.true_match_rate:.1f} % of matches",
        )


def _shown_bins(distances: Mapping[View, PairDistances]) -> slice:
    """From the first to the last bin that holds anything; the step is how many make one bar."""
    counts = sum(measured.match_counts + measured.other_counts for measured in distances.values())
    first, last = np.flatnonzero(counts)[[0, -1]]
    group = -(-(last + 1 - first) // _SHOWN_BINS)
    return slice(int(first), int(last) + 1, int(group))


def _density(counts: np.ndarray, edges: np.ndarray, shown: slice) -> tuple[np.ndarray, np.ndarray]:
    """Edges and densities of groups of bins."""
    starts = np.arange(shown.start, shown.stop, shown.step)
    ends = np.minimum(starts + shown.step, len(counts))
    grouped = np.add.reduceat(counts[: ends[-1]], starts)
    bounds = np.append(edges[starts], edges[ends[-1]])
    return bounds, grouped / (max(counts.sum(), 1) * np.diff(bounds))
