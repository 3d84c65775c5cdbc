"""Figures of one row of an evaluation: by the configured protocol and distance, and by the usual others."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.evaluation.evaluator import Evaluation, rank
from intact_fast.evaluation.ranking import RankingResult
from intact_fast.evaluation.sharding import Processes
from intact_fast.evaluation.views import View
from intact_fast.reporting.tables import row_figures


def figures_of(evaluation: Evaluation, view: View, manifest: Manifest, processes: Processes) -> dict[str, float]:
    """Score a row by its own rules, and from the same features by the multi-shot protocol and by cosine.

    A figure that the row's own rules give already has no second name.

    Args:
        evaluation: Holds the features.
        view: Which row.
        manifest: The split that was evaluated.
        processes: One of them ranks.

    Returns:
        Percent, PSNR in dB and SSIM, by the names of columns.

    Raises:
        UserError: As the ranking does.
    """
    own = evaluation.rows[view].configured(evaluation.config)
    figures, features = row_figures(evaluation, view), evaluation.query_features[view]

    def add(prefix: str, config: EvaluationConfig, *, mean_ap: bool) -> None:
        found = ranked(features, evaluation.query_entries, evaluation, manifest, processes, config)
        figures[f"{prefix} Rank-1"] = 100 * float(found.cmc[0])
        if mean_ap:
            figures[f"{prefix} mAP"] = 100 * float(found.mean_ap)

    if own.protocol != "multi-shot":
        add("multi-shot", replace(own, protocol="multi-shot"), mean_ap=True)
    if own.metric != "cosine":
        cosine = replace(own, metric="cosine")
        add("cosine", cosine, mean_ap=True)
        if own.protocol != "multi-shot":
            # its mAP is that of the line above: mAP looks at the whole gallery whatever the protocol
            add("cosine multi-shot", replace(cosine, protocol="multi-shot"), mean_ap=False)
    return figures


def ranked(
    features: Tensor,
    queries: list[Entry],
    evaluation: Evaluation,
    manifest: Manifest,
    processes: Processes,
    config: EvaluationConfig | None = None,
) -> RankingResult:
    """Rank an evaluation's gallery for other query features (Q×512), by other rules where some are given."""
    gallery = evaluation.gallery_features, queries, evaluation.gallery_entries
    return processes.on_main(lambda: rank(features, *gallery, config or evaluation.config, manifest))
