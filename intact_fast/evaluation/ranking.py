"""CMC, mAP and mINP under the field's protocols.

In every protocol a tie in distance counts against the query: a wrong picture at a positive's distance is
ranked before it. The figures therefore do not depend on the order of the gallery, and constant features
earn nothing from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from intact_fast.evaluation.distances import Metric, check_features, distance_blocks
from intact_fast.evaluation.single_shot import draw_galleries, exact_cmc, group_identities, sampled_cmc

Protocol = Literal["single-shot", "sampled", "multi-shot"]
Distractors = Literal["auto", "drop", "keep"]
Identifiers = Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class RankingResult:
    """What one ranking scored, query by query.

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


def evaluate_ranking(
    query_features: Tensor,
    gallery_features: Tensor,
    query_pids: Identifiers,
    gallery_pids: Identifiers,
    query_camids: Identifiers,
    gallery_camids: Identifiers,
    *,
    protocol: Protocol = "single-shot",
    metric: Metric = "euclidean",
    max_rank: int = 50,
    repeats: int = 10,
    seed: int = 0,
    distractors: Distractors = "auto",
    distractor_pid: int | None = None,
    junk_pid: int | None = -1,
) -> RankingResult:
    """Ranks the gallery for every query and scores the ranking.

    Protocols, which differ in the CMC alone:

    * ``single-shot`` (§4.2 of the paper): the expected CMC when every gallery identity keeps one random
      picture, exactly, over all draws.
    * ``sampled``: the same, averaged over ``repeats`` drawn galleries that all queries share. A query whose
      own identity drew a picture that is junk to it sees that identity's next picture of the same shuffle.
    * ``multi-shot``: the whole gallery, rank of the first match.

    AP and INP are multi-shot in all three. AP is the mean over the positives of the precision at each
    one's rank (torchreid's; Market-1501's own script interpolates instead). INP is the number of positives
    over the rank of the last one (fast-reid's).

    Junk, left out of a query's gallery: pictures with its pid and its camera, and ``junk_pid`` always. A
    query without any positive left, or whose pid is ``junk_pid`` or ``distractor_pid``, is not valid and
    is not scored.

    Args:
        query_features: Q×D.
        gallery_features: G×D, on the device of the queries.
        query_pids: Q integers.
        gallery_pids: G integers.
        query_camids: Q integers.
        gallery_camids: G integers.
        protocol: How the CMC is defined.
        metric: ``euclidean`` or ``cosine``.
        max_rank: Length of the CMC, even where the gallery has fewer identities.
        repeats: Galleries drawn in ``sampled``.
        seed: Seed of those draws.
        distractors: What becomes of the ``distractor_pid`` pictures. ``auto`` drops them in both single-shot
            CMCs and keeps them in multi-shot CMC, AP and INP; ``drop`` and ``keep`` do so everywhere. Kept in
            a single-shot gallery, each is an identity of its own.
        distractor_pid: The pid that marks distractors (0 in Market-1501), if the data set has any.
        junk_pid: The pid that marks junk (-1 in Market-1501), if the data set has any.

    Returns:
        The scores of every valid query and their means.

    Raises:
        ValueError: Empty, non-finite or mismatched arguments, an unknown choice, or no valid query.
    """
    _check_choice("protocol", protocol, Protocol)
    _check_choice("distractors", distractors, Distractors)
    for name, value in (("max_rank", max_rank), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    check_features("query_features", query_features)
    check_features("gallery_features", gallery_features)
    query_pids = _identifiers("query_pids", query_pids, len(query_features))
    query_camids = _identifiers("query_camids", query_camids, len(query_features))
    gallery_pids = _identifiers("gallery_pids", gallery_pids, len(gallery_features))
    gallery_camids = _identifiers("gallery_camids", gallery_camids, len(gallery_features))

    nobody = [pid for pid in (junk_pid, distractor_pid) if pid is not None]
    matched = _has_positive(query_pids, query_camids, gallery_pids, gallery_camids)
    valid = matched & ~np.isin(query_pids, nobody)
    if not valid.any():
        raise ValueError("query_pids: no query has a picture of its pid from another camera in the gallery")

    junk = np.isin(gallery_pids, [] if junk_pid is None else [junk_pid])
    distractor = np.isin(gallery_pids, [] if distractor_pid is None else [distractor_pid]) & ~junk
    absent = junk | distractor if distractors == "drop" else junk
    single_shot_absent = junk if distractors == "keep" else junk | distractor
    identities = group_identities(gallery_pids, dropped=single_shot_absent, loners=distractor)
    draws = draw_galleries(identities, repeats, seed) if protocol == "sampled" else None

    query_pids, query_camids = query_pids[valid], query_camids[valid]
    cmc = np.empty((len(query_pids), max_rank))
    ap, inp = np.empty(len(query_pids)), np.empty(len(query_pids))
    ranks_asked = np.arange(1, max_rank + 1)
    scored = query_features[torch.from_numpy(valid).to(query_features.device)]
    for rows, block in distance_blocks(scored, gallery_features, metric):
        for query, distances in zip(range(rows.start, rows.stop), block, strict=True):
            same_pid = gallery_pids == query_pids[query]
            positives = np.flatnonzero(same_pid & (gallery_camids != query_camids[query]))
            beats_from = np.searchsorted(np.sort(distances[positives]), distances, side="left")
            ranks = _multi_shot_ranks(beats_from[~same_pid & ~absent], len(positives))
            ap[query] = (np.arange(1, len(ranks) + 1) / ranks).mean()
            inp[query] = len(ranks) / ranks[-1]
            own = identities.labels[positives[0]]
            if protocol == "single-shot":
                cmc[query] = exact_cmc(beats_from, identities, own, len(positives), max_rank)
            elif protocol == "sampled":
                cmc[query] = sampled_cmc(distances, draws, own, positives, max_rank)
            else:
                cmc[query] = ranks[0] <= ranks_asked
    return RankingResult(cmc, ap, inp, valid)


def _multi_shot_ranks(rivals_beat_from: np.ndarray, positives: int) -> np.ndarray:
    """The 1-based ranks of a query's positives, nearest first.

    Counting the rivals before each positive needs no sort of the gallery.
    """
    rivals_ahead = np.bincount(rivals_beat_from, minlength=positives + 1)[:positives].cumsum()
    return rivals_ahead + np.arange(1, positives + 1)


def _has_positive(
    query_pids: np.ndarray, query_camids: np.ndarray, gallery_pids: np.ndarray, gallery_camids: np.ndarray
) -> np.ndarray:
    cameras_of = defaultdict(set)
    for pid, camid in zip(gallery_pids.tolist(), gallery_camids.tolist(), strict=True):
        cameras_of[pid].add(camid)
    pairs = zip(query_pids.tolist(), query_camids.tolist(), strict=True)
    return np.array([bool(cameras_of[pid] - {camid}) for pid, camid in pairs])


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def _identifiers(name: str, values: Identifiers, expected: int) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.shape != (expected,):
        features = name.split("_")[0] + "_features"
        raise ValueError(f"{name} must hold one number per row of {features} ({expected}), not {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, not {array.dtype}")
    return array.astype(np.int64)
