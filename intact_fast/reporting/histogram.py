"""Histograms of the similarities of matches and non-matches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intact_fast.evaluation.verification import EDGES, HISTOGRAM_RATE, PairSimilarities, thresholds
from intact_fast.evaluation.views import View
from intact_fast.reporting.plots import BLUE, GREY, ORANGE, save_figure, small_multiples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = 80


def similarity_panels(pairs: Mapping[View, PairSimilarities], names: Mapping[View, str]) -> list[dict[str, Any]]:
    """Give each view's histogram as plain values, with all of its thresholds.

    ``above`` holds the share of each kind, in percent, that is more similar than each edge.

    Args:
        pairs: From `pair_similarities`.
        names: What tables call each view.
    """
    bins = _occupied_bins(pairs)
    panels = []
    for view, measured in pairs.items():
        series = []
        for label, colour, counts in (
            ("non-matches", 1, measured.non_match_counts),
            ("matches", 0, measured.match_counts),
        ):
            edges, density = _density(counts, bins)
            above = 100 * np.cumsum([0, *(density * np.diff(edges))[::-1]])[::-1]
            series.append(
                {"label": label, "colour": colour, "density": _rounded(density), "above": np.round(above, 2).tolist()}
            )
        marks = [{"rate": 100 * t.rate, "similarity": t.similarity} for t in thresholds(measured)]
        panels.append({"title": names[view], "edges": _rounded(edges), "series": series, "thresholds": marks})
    return panels


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def save_histogram(pairs: Mapping[View, PairSimilarities], names: Mapping[View, str], path: Path) -> None:
    """Draw the densities of matches and non-matches per view, with the threshold of a false-match rate of 1e-3.

    Args:
        pairs: From `pair_similarities`.
        names: What tables call each view.
        path: PNG to write.
    """
    bins = _occupied_bins(pairs)
    figure, axes = small_multiples(len(pairs), 1, (7.2, 2.1))
    for ax, (view, measured) in zip(axes, pairs.items(), strict=True):
        for counts, colour, label in (
            (measured.non_match_counts, ORANGE, "non-matches"),
            (measured.match_counts, BLUE, "matches"),
        ):
            edges, density = _density(counts, bins)
            ax.stairs(density, edges, fill=True, color=colour, alpha=0.35)
            ax.stairs(density, edges, color=colour, linewidth=1.3, label=label)
        ax.set_xlim(edges[0], edges[-1])
        ax.set_title(names[view], fontsize=9, loc="left")
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
    axes[-1].set_xlabel("similarity: the cosine of two features", fontsize=8, color=GREY)
    save_figure(figure, path)


def _mark_threshold(ax: Axes, measured: PairSimilarities) -> None:
    for threshold in thresholds(measured, [HISTOGRAM_RATE]):
        ax.axvline(
            threshold.similarity,
            color="#303030",
            linewidth=1.2,
            linestyle="--",
            label=(
                f"above: {100 * HISTOGRAM_RATE:g} % of non-matches, {100 * threshold.true_match_rate:.1f} % of matches"
            ),
        )


def _occupied_bins(pairs: Mapping[View, PairSimilarities]) -> slice:
    """Span the bins from the first to the last that holds anything. The step is the bins in one bar."""
    counts = sum(measured.match_counts + measured.non_match_counts for measured in pairs.values())
    first, last = np.flatnonzero(counts)[[0, -1]]
    group = -(-(last + 1 - first) // _BARS)
    return slice(int(first), int(last) + 1, int(group))


def _density(counts: np.ndarray, bins: slice) -> tuple[np.ndarray, np.ndarray]:
    """Edges and densities of groups of bins."""
    starts = np.arange(bins.start, bins.stop, bins.step)
    ends = np.minimum(starts + bins.step, len(counts))
    grouped = np.add.reduceat(counts[: ends[-1]], starts)
    bounds = np.append(EDGES[starts], EDGES[ends[-1]])
    return bounds, grouped / (max(counts.sum(), 1) * np.diff(bounds))
