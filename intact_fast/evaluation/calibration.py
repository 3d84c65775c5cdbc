"""Calibration: thresholds of a model, measured on people that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Manifest
from intact_fast.data.progress import Progress, no_progress
from intact_fast.evaluation.evaluator import evaluate
from intact_fast.evaluation.sharding import SINGLE_PROCESS, Processes
from intact_fast.evaluation.verification import pair_similarities, thresholds
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.thresholds import RATES, Thresholds, ViewThresholds


def measure_thresholds(
    model: SRReID,
    manifest: Manifest,
    root: Path,
    rules: EvaluationConfig,
    threads: int = 2,
    rates: Sequence[float] = RATES,
    validation: bool = False,
    processes: Processes = SINGLE_PROCESS,
    progress: Progress = no_progress,
) -> Thresholds:
    """Measure thresholds of the similarity that ``search`` prints, for HR queries, LR queries and super-resolved ones.

    Natively small gallery pictures pass through G, as in a search.

    Args:
        model: The retrieval module.
        manifest: Which pictures, and at which r.
        root: Folder that the manifest's paths are relative to.
        rules: What a match is, how many pictures at a time, and whether unreadable ones are left out.
        threads: Threads that read pictures.
        rates: False-match rates, above 0 and below 1.
        validation: Use the held-out training identities instead of the test split.
        processes: All of them call this with the same model and share the pictures; each gets the same thresholds.
        progress: Told how far it is.

    Raises:
        UserError: A picture is missing or unreadable, or no query has a match.
    """
    result = evaluate(
        model,
        manifest,
        root,
        replace(rules, gallery="auto", rerank=False, test_time=()),
        threads,
        ("hr", "lr", "sr") if model.has_query_side else ("hr", "lr"),
        validation,
        processes=processes,
        progress=progress,
    )

    def measure() -> Thresholds:
        people = "held-out training people" if validation else "test people"
        views = {
            view: ViewThresholds(len(pairs.matches), pairs.total_non_matches, pairs.people, tuple(thresholds(pairs)))
            for view, pairs in pair_similarities(result, rates).items()
        }
        return Thresholds(f"{result.dataset}, {people} of split {result.manifest_hash[:12]}", views)

    return processes.on_main(measure)
