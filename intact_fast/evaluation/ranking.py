"""CMC, mAP and mINP under the field's protocols.

In every protocol a tie in distance counts against the query: a wrong picture at a positive's distance is
ranked before it. The figures therefore do not depend on the order of the gallery, and constant features
earn nothing from it. The counting is done in C++ (``intact_fast._C``), in parallel over the queries; no figure
depends on the number of threads. As with any OpenMP library, a process forked after a parallel call must keep to
one thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, TypedDict, TypeVar, Unpack, get_args, get_type_hints

import numpy as np
from torch import Tensor

from intact_fast import _C
from intact_fast.evaluation.distances import Features, Metric, check_features, distance_blocks
from intact_fast.evaluation.reranking import Reranking, reranked_blocks

Protocol = Literal["single-shot", "sampled", "multi-shot"]
Distractors = Literal["auto", "drop", "keep"]
Identifiers = Sequence[int] | np.ndarray | Tensor

JUNK_PID = -1
"""The pid that marks junk where nothing else is said, Market-1501's."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


@dataclass(frozen=True, eq=False)
class RankingResult:
    """Scores of one ranking, query by query.

    Which queries are valid depends on pids and cameras alone, so the rows of two methods evaluated on the
    same queries are paired.

    Attributes:
        cmc_per_query: V×max_rank float64, V being the valid queries in their order: the probability (0 or 1
            in ``multi-shot``) of a match within rank 1 to max_rank.
        ap_per_query: V float64, multi-shot average precision.
        inp_per_query: V float64, multi-shot inverse negative penalty.
        valid: Q booleans: the queries that have a match in the gallery.
    """

    cmc_per_query: np.ndarray
    ap_per_query: np.ndarray
    inp_per_query: np.ndarray
    valid: np.ndarray

    @property
    def cmc(self) -> np.ndarray:
        """Mean CMC over the valid queries, max_rank float64; ``cmc[0]`` is rank-1."""
        return self.cmc_per_query.mean(axis=0)

    @property
    def rank1_per_query(self) -> np.ndarray:
        """V float64: the first column of `cmc_per_query`."""
        return self.cmc_per_query[:, 0]

    @property
    def mean_ap(self) -> float:
        """mAP over the valid queries."""
        return float(self.ap_per_query.mean())

    @property
    def mean_inp(self) -> float:
        """Mean inverse negative penalty (mINP) over the valid queries."""
        return float(self.inp_per_query.mean())


class ScoringOptions(TypedDict, total=False):
    """Keywords that tell `evaluate_ranking`, which explains them, and `evaluate_distances` how to score."""

    protocol: Protocol
    max_rank: int
    repeats: int
    seed: int
    distractors: Distractors
    distractor_pid: int | None
    junk_pid: int | None
    threads: int


_DEFAULTS: ScoringOptions = {
    "protocol": "single-shot",
    "max_rank": 50,
    "repeats": 10,
    "seed": 0,
    "distractors": "auto",
    "distractor_pid": None,
    "junk_pid": JUNK_PID,
    "threads": 0,
}


def _shows_scoring_options(function: FunctionT) -> FunctionT:
    """Let ``help`` show each option with its type and its default, instead of ``**options`` alone."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    defaults: Mapping[str, object] = _DEFAULTS
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation)
        for name, annotation in get_type_hints(ScoringOptions).items()
    ]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


@_shows_scoring_options
def evaluate_ranking(
    query_features: Features,
    gallery_features: Features,
    query_pids: Identifiers,
    gallery_pids: Identifiers,
    query_camids: Identifiers | None,
    gallery_camids: Identifiers | None,
    *,
    metric: Metric = "euclidean",
    reranking: Reranking | None = None,
    **options: Unpack[ScoringOptions],
) -> RankingResult:
    """Ranks the gallery for every query and scores the ranking.

    Protocols, which differ in the CMC alone:

    * ``single-shot`` (§4.2 of the paper): the expected CMC when every gallery identity keeps one random
      picture, exactly, over all draws.
    * ``sampled``: the same, averaged over ``repeats`` drawn galleries that all queries share. A query whose
      own identity drew a picture that is junk to it sees that identity's next picture of the same draw.
    * ``multi-shot``: the whole gallery, rank of the first match.

    AP and INP are multi-shot in all three. AP is the mean over the positives of the precision at each
    one's rank (torchreid's; Market-1501's own script interpolates instead). INP is the number of positives
    over the rank of the last one (fast-reid's).

    Junk, left out of a query's gallery: pictures with its pid and its camera, and ``junk_pid`` always. A
    query without any positive left, or whose pid is ``junk_pid`` or ``distractor_pid``, is not valid and
    is not scored.

    The distances are computed where the features are (CPU or GPU), in blocks of queries; the whole
    query×gallery matrix is never in memory.

    Args:
        query_features: Q×D, any real dtype; taken as float32.
        gallery_features: G×D, on the device of the queries.
        query_pids: Q integers.
        gallery_pids: G integers.
        query_camids: Q integers. None, for both sides, where the pictures have no camera ids: every gallery picture
            of a query's pid is then a match. Numbers of the files instead leave each query itself out.
        gallery_camids: G integers, or None.
        metric: ``euclidean`` or ``cosine``.
        reranking: Re-rank by k-reciprocal encoding first. Queries that are not valid, and junk, still are
            neighbours there, as in the published method.
        **options: The rest, by keyword, each with a default.
        protocol: How the CMC is defined.
        max_rank: Length of the CMC, even where the gallery has fewer identities.
        repeats: Galleries drawn in ``sampled``.
        seed: Seed of those draws.
        distractors: What becomes of the ``distractor_pid`` pictures. ``auto`` drops them in both single-shot
            CMCs and keeps them in multi-shot CMC, AP and INP; ``drop`` and ``keep`` do so everywhere. Kept in
            a single-shot gallery, each is an identity of its own.
        distractor_pid: The pid that marks distractors (0 in Market-1501), if the data set has any.
        junk_pid: The pid that marks junk (-1 in Market-1501), if the data set has any.
        threads: CPU threads that count; 0 leaves it to OpenMP (OMP_NUM_THREADS, else all processors).

    Returns:
        The scores of every valid query and their means.

    Raises:
        ValueError: Empty, non-finite or mismatched arguments, an unknown choice, or no valid query.
    """
    query = check_features("query_features", query_features)
    gallery = check_features("gallery_features", gallery_features)
    scoring = _Scoring(
        _identifiers("query_pids", query_pids, "query_features", len(query)),
        _identifiers("gallery_pids", gallery_pids, "gallery_features", len(gallery)),
        *_camids(query_camids, gallery_camids, ("query_features", "gallery_features"), (len(query), len(gallery))),
        options,
    )
    if reranking is None:
        return scoring.score(distance_blocks(query, gallery, metric))
    return scoring.score(reranked_blocks(query, gallery, metric, reranking, threads=scoring.threads))


@_shows_scoring_options
def evaluate_distances(
    distances: Features,
    query_pids: Identifiers,
    gallery_pids: Identifiers,
    query_camids: Identifiers | None,
    gallery_camids: Identifiers | None,
    **options: Unpack[ScoringOptions],
) -> RankingResult:
    """Scores distances that are already there, as torchreid's ``evaluate_rank`` does.

    Args:
        distances: Q×G, smaller is more alike; taken as float32, so that closer values tie. Infinity is
            allowed, NaN is not.
        query_pids: Q integers.
        gallery_pids: G integers.
        query_camids: Q integers; None, for both sides, where there are none, as `evaluate_ranking` explains.
        gallery_camids: G integers, or None.
        **options: ``protocol``, ``max_rank``, ``repeats``, ``seed``, ``distractors``, ``distractor_pid``, ``junk_pid``
            and ``threads``, as `evaluate_ranking` explains them.

    Returns:
        The scores of every valid query and their means.

    Raises:
        ValueError: NaN, empty or mismatched arguments, an unknown choice, or no valid query.
    """
    if isinstance(distances, Tensor):
        # numpy has no bfloat16.
        tensor = distances.float() if distances.is_floating_point() else distances
        matrix = tensor.detach().cpu().numpy()
    else:
        matrix = np.asarray(distances)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"distances must be a matrix of real numbers, one row per query, not {matrix.dtype} of shape {matrix.shape}"
        )
    rows, columns = matrix.shape
    scoring = _Scoring(
        _identifiers("query_pids", query_pids, "distances", rows),
        _identifiers("gallery_pids", gallery_pids, "distances.T", columns),
        *_camids(query_camids, gallery_camids, ("distances", "distances.T"), (rows, columns)),
        options,
    )
    return scoring.score([(slice(0, rows), matrix.astype(np.float32, copy=False))])


class _Scoring:
    """The protocol applied to blocks of distances."""

    def __init__(
        self,
        query_pids: np.ndarray,
        gallery_pids: np.ndarray,
        query_camids: np.ndarray,
        gallery_camids: np.ndarray,
        options: ScoringOptions,
    ) -> None:
        chosen: ScoringOptions = {**_DEFAULTS, **options}
        _check_options(chosen)
        self.protocol, self.max_rank, self.threads = chosen["protocol"], chosen["max_rank"], chosen["threads"]
        self.repeats, self.seed = chosen["repeats"], chosen["seed"]
        self.query_pids, self.query_camids = query_pids, query_camids
        distractors, distractor_pid, junk_pid = chosen["distractors"], chosen["distractor_pid"], chosen["junk_pid"]

        junk = np.isin(gallery_pids, [] if junk_pid is None else [junk_pid])
        distractor = np.isin(gallery_pids, [] if distractor_pid is None else [distractor_pid]) & ~junk

        def gallery_without(absent: np.ndarray) -> _C.Gallery:
            return _C.Gallery(gallery_pids, gallery_camids, absent, distractor)

        self.gallery = gallery_without(junk | distractor if distractors == "drop" else junk)
        self.single_shot_gallery = gallery_without(junk if distractors == "keep" else junk | distractor)
        self.valid = self.gallery.count_matches(query_pids, query_camids) > 0
        if not self.valid.any():
            raise ValueError(
                "query_pids: no query has a picture of its pid from another camera in the gallery; give None as "
                "query_camids and gallery_camids where there are no camera ids"
            )

    def score(self, blocks: Iterable[tuple[slice, np.ndarray]]) -> RankingResult:
        cmc = np.empty((len(self.valid), self.max_rank))
        ap, inp = np.empty(len(self.valid)), np.empty(len(self.valid))
        for rows, distances in blocks:
            queries = (distances, self.query_pids[rows], self.query_camids[rows], self.max_rank)
            cmc[rows], ap[rows], inp[rows] = self.gallery.multi_shot(*queries, threads=self.threads)
            if self.protocol == "single-shot":
                cmc[rows] = self.single_shot_gallery.exact_single_shot(*queries, threads=self.threads)
            elif self.protocol == "sampled":
                cmc[rows] = self.single_shot_gallery.sampled_single_shot(
                    *queries, repeats=self.repeats, seed=self.seed, threads=self.threads
                )
        return RankingResult(cmc[self.valid], ap[self.valid], inp[self.valid], self.valid)


def _check_options(options: ScoringOptions) -> None:
    unknown = options.keys() - _DEFAULTS.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    _check_choice("protocol", options["protocol"], Protocol)
    _check_choice("distractors", options["distractors"], Distractors)
    for name, value, low, high in (
        ("max_rank", options["max_rank"], 1, 1_000_000),
        ("repeats", options["repeats"], 1, 1_000_000),
        ("seed", options["seed"], 0, 2**64 - 1),
        ("threads", options["threads"], 0, 2**16),
    ):
        if not isinstance(value, Integral) or not low <= value <= high:
            raise ValueError(f"{name} must be an integer between {low} and {high}, not {value!r}")
    for name, pid in (("distractor_pid", options["distractor_pid"]), ("junk_pid", options["junk_pid"])):
        if not isinstance(pid, Integral | None):
            raise ValueError(f"{name} must be an integer or None, not {pid!r}")


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def _camids(
    of_queries: Identifiers | None,
    of_gallery: Identifiers | None,
    aligned_with: tuple[str, str],
    sizes: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Give both sides' cameras; without any, the sides are two cameras, so that nothing is junk by its camera."""
    if of_queries is None and of_gallery is None:
        return np.zeros(sizes[0], np.int64), np.ones(sizes[1], np.int64)
    if of_queries is None or of_gallery is None:
        missing = "query_camids" if of_queries is None else "gallery_camids"
        raise ValueError(f"{missing} is None; give both sides their cameras, or neither")
    return (
        _identifiers("query_camids", of_queries, aligned_with[0], sizes[0]),
        _identifiers("gallery_camids", of_gallery, aligned_with[1], sizes[1]),
    )


def _identifiers(name: str, values: Identifiers, aligned_with: str, expected: int) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.shape != (expected,):
        raise ValueError(f"{name} must hold one number per row of {aligned_with} ({expected}), not {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must fit 64 signed bits, which {array.max()} does not")
    return array.astype(np.int64)
