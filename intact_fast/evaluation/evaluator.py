"""The cross-resolution evaluation: the same queries as HR, as LR, and super-resolved (section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.data.matches import camids_for_matching, require_matches
from intact_fast.data.progress import Progress, no_progress
from intact_fast.errors import UserError
from intact_fast.evaluation.features import (
    QualityFigures,
    extract_features,
    features_by_native_size,
    measure_queries,
)
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.ranking import RankingResult, evaluate_ranking
from intact_fast.evaluation.readable import Unreadable, leave_out_unreadable
from intact_fast.evaluation.reranking import Reranking
from intact_fast.evaluation.sharding import SINGLE_PROCESS, Processes
from intact_fast.evaluation.views import (
    HR,
    VIEWS,
    QueryView,
    View,
    by_key,
    name_of_served,
    of_corrupted,
    with_test_time,
)
from intact_fast.serving.sr_reid import SRReID

_MAX_RANK = 10


@dataclass(frozen=True)
class SharedFeatures:
    """Features that C alone computes, which evaluations of several G behind one C can share.

    Attributes:
        gallery_features: G×512.
        query_features: Q×512 by key of the view.
    """

    gallery_features: Tensor
    query_features: dict[View, Tensor]


@dataclass(frozen=True)
class Comparison:
    """Difference of Rank-1 between two methods on the same queries.

    Attributes:
        gain: Mean difference, a share of 1.
        standard_error: Of that mean over another draw of people, each with all its queries (the cluster-robust one);
            None for one person.
        queries: How many.
        people: Whose they are.
    """

    gain: float
    standard_error: float | None
    queries: int
    people: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything one evaluation found.

    Attributes:
        dataset: Name of the data set.
        manifest_hash: Which split.
        config: How it was ranked.
        rankings: Per view, in the order of the table.
        quality: Picture quality of LR and of SR, where their rows are there; empty without a degraded query.
        query_entries: The queries.
        gallery_entries: The gallery.
        query_features: Features of the queries per view, Q×512.
        gallery_features: G×512.
        unreadable: What was left out because it cannot be read.
        rows: How each view showed the queries, and what tables call it.
        association: Whether the association took part in the training of what serves the queries.
    """

    dataset: str
    manifest_hash: str
    config: EvaluationConfig
    rankings: dict[View, RankingResult]
    quality: dict[View, QualityFigures]
    query_entries: list[Entry]
    gallery_entries: list[Entry]
    query_features: dict[View, Tensor]
    gallery_features: Tensor
    unreadable: Unreadable = field(default_factory=Unreadable)
    rows: dict[View, QueryView] = field(default_factory=lambda: dict(VIEWS))
    association: bool = False

    @property
    def plain_views(self) -> list[View]:
        """The views without those that test-time options and corrupted queries add."""
        return [key for key in self.rankings if key in VIEWS]

    @property
    def names(self) -> dict[View, str]:
        """What tables call each view."""
        return {key: self.rows[key].name for key in self.rankings}

    def gain(self) -> Comparison | None:
        """SR against LR without SR; None where one of them is missing."""
        if "sr" not in self.rankings or "lr" not in self.rankings:
            return None
        difference = self.rankings["sr"].rank1_per_query - self.rankings["lr"].rank1_per_query
        pids = np.array([entry.pid for entry in self.query_entries])[self.rankings["sr"].valid]
        mean, people = float(difference.mean()), len(np.unique(pids))
        if people == 1:
            return Comparison(mean, None, len(difference), people)
        of_person = np.bincount(np.unique(pids, return_inverse=True)[1], difference - mean)
        error = math.sqrt(people / (people - 1) * float(np.sum(of_person**2))) / len(difference)
        return Comparison(mean, error, len(difference), people)


def evaluate(
    model: SRReID,
    manifest: Manifest,
    root: Path,
    config: EvaluationConfig,
    threads: int = 2,
    views: Sequence[View] = ("hr", "lr", "sr"),
    validation: bool = False,
    shared: SharedFeatures | None = None,
    processes: Processes = SINGLE_PROCESS,
    progress: Progress = no_progress,
    association: bool = False,
) -> Evaluation:
    """Rank the gallery for every query under each view.

    The gallery is HR and bypasses G, unless the configuration lets natively small pictures of it through. Queries that
    are natively LR have no HR view, and that row is left out. Where the manifest has corrupted queries, LR and SR have
    a row of them, too.

    Args:
        model: The retrieval module.
        manifest: Which pictures, and at which r.
        root: Folder that the manifest's paths are relative to.
        config: Protocol and distance.
        threads: Threads that read pictures.
        views: Which rows of the table to compute, by key.
        validation: Use the held-out training identities instead of the test split.
        shared: Features of an earlier evaluation of the same split by the same C.
        processes: All of them call this with the same model and share the pictures; each gets the result that one
            process would.
        progress: Told how far it is.
        association: Whether the association took part in the model's training, for the name of its row.

    Raises:
        UserError: A picture is missing or unreadable, no query has a match, or no view is left.
    """
    queries, gallery = _test_entries(manifest, validation)
    require_matches(manifest, config.same_camera, validation=validation)
    split, unreadable = manifest, Unreadable()
    if config.skip_corrupt:
        manifest, unreadable = leave_out_unreadable(manifest, root, threads, validation, processes)
        queries, gallery = _test_entries(manifest, validation)
        require_matches(manifest, config.same_camera, validation=validation)
    if _natively_low(queries):
        views = tuple(view for view in views if view != "hr")
    if not views:
        raise UserError(
            f"--queries hr: the queries of {manifest.header.dataset} are natively low-resolution; use lr or sr"
        )
    row_config = replace(config, test_time=()) if validation else config
    rows = _rows(views, name_of_served(model, association), row_config, _are_corrupted(queries))
    source = PictureSource(root, manifest.header, model, config.batch_size, threads, progress)
    known = {} if shared is None else shared.query_features
    if config.gallery == "auto":
        gallery_features = features_by_native_size(source, gallery, processes, "gallery")
    elif shared is not None:
        gallery_features = shared.gallery_features
    else:
        gallery_features = extract_features(source, gallery, HR, processes, "gallery")
    unknown = [row for row in rows.values() if row.key not in known]
    compared = [row for row in rows.values() if row.variant != "hr" and not row.test_time]
    qualities = [] if validation else compared
    computed, quality = measure_queries(source, queries, unknown, qualities, processes, "queries")
    query_features = {key: known[key] if key in known else computed[key] for key in rows}

    def rank_all() -> dict[View, RankingResult]:
        try:
            return {
                key: rank(query_features[key], gallery_features, queries, gallery, row.configured(config), manifest)
                for key, row in rows.items()
            }
        except ValueError as error:
            raise UserError(f"evaluation of {manifest.header.dataset}: {error}") from error

    rankings = processes.on_main(rank_all)
    return Evaluation(
        manifest.header.dataset,
        split.hash,
        config,
        rankings,
        quality,
        queries,
        gallery,
        query_features,
        gallery_features,
        unreadable,
        rows,
        association,
    )


def _rows(keys: Sequence[View], served: str, config: EvaluationConfig, corrupted: bool) -> dict[View, QueryView]:
    """Give the rows of a table by key, that of what serves LR pictures under its name.

    Those of test-time options follow each, and those of corrupted queries follow all.
    """
    rows = [replace(VIEWS[key], name=served) if key == "sr" else VIEWS[key] for key in keys]
    shown = [row for plain in rows for row in (plain, *with_test_time(plain, config))]
    return by_key([*shown, *(row for plain in rows for row in of_corrupted(plain) if corrupted)])


def features_of_critic(
    model: SRReID,
    manifest: Manifest,
    root: Path,
    config: EvaluationConfig,
    threads: int = 2,
    processes: Processes = SINGLE_PROCESS,
    progress: Progress = no_progress,
) -> SharedFeatures:
    """Compute what no G has a part in: features of the test split's gallery and of its queries as HR pictures.

    Args:
        model: The retrieval module; its G is not used.
        manifest: Which pictures.
        root: Folder that the manifest's paths are relative to.
        config: How many pictures at a time, and whether unreadable ones are left out.
        threads: Threads that read pictures.
        processes: Processes that share the pictures.
        progress: Told how far it is.

    Raises:
        UserError: A picture is missing or unreadable, or there is no query or no gallery picture.
    """
    if config.skip_corrupt:
        manifest, _ = leave_out_unreadable(manifest, root, threads, processes=processes)
    queries, gallery = _test_entries(manifest)
    source = PictureSource(root, manifest.header, model, config.batch_size, threads, progress)
    gallery_features = extract_features(source, gallery, HR, processes, "gallery")
    if _natively_low(queries):
        return SharedFeatures(gallery_features, {})
    return SharedFeatures(gallery_features, {"hr": extract_features(source, queries, HR, processes, "HR queries")})


def _test_entries(manifest: Manifest, validation: bool = False) -> tuple[list[Entry], list[Entry]]:
    """Take queries and gallery from a split."""
    queries = manifest.split("val_query" if validation else "query")
    gallery = manifest.split("val_gallery" if validation else "gallery")
    if not queries or not gallery:
        raise UserError("the manifest has no query or no gallery picture; check --data.lr-camera and --data.manifest")
    return queries, gallery


def _natively_low(queries: list[Entry]) -> bool:
    """Say whether none of the queries has an HR picture."""
    return all(entry.is_lr and entry.r is None for entry in queries)


def _are_corrupted(queries: list[Entry]) -> bool:
    """Say whether the queries have a corrupted form; those that are natively LR need none."""
    degraded = [entry for entry in queries if entry.r is not None]
    return bool(degraded) and all(entry.corruption is not None for entry in degraded)


def rank(
    query_features: Tensor,
    gallery_features: Tensor,
    queries: list[Entry],
    gallery: list[Entry],
    config: EvaluationConfig,
    manifest: Manifest,
) -> RankingResult:
    """Rank a gallery (features G×512) for queries (Q×512) and score it as configured.

    Raises:
        ValueError: No query has a match, or a feature is NaN.
    """
    return evaluate_ranking(
        query_features,
        gallery_features,
        np.array([entry.pid for entry in queries]),
        np.array([entry.pid for entry in gallery]),
        *camids_for_matching(queries, gallery, config.same_camera),
        protocol=config.protocol,
        metric=config.metric,
        reranking=Reranking() if config.rerank else None,
        max_rank=_MAX_RANK,
        repeats=config.repeats,
        seed=manifest.header.seed,
        distractors=config.distractors,
        distractor_pid=manifest.header.distractor_pid,
    )
