"""The ranking figures and the re-ranking in plain numpy, written for reading, that the C++ engine must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP = 0x9E3779B97F4A7C15
UINT64 = 2**64 - 1


@dataclass(frozen=True)
class Case:
    """One evaluation: distances Q×G, and who is where."""

    distances: np.ndarray
    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray

    @property
    def ids(self):
        return self.query_pids, self.gallery_pids, self.query_camids, self.gallery_camids


def split(case, query, distractor_pid, keep):
    """One query's matches, its rivals, and each rival's identity; None without any match."""
    pid, camid = case.query_pids[query], case.query_camids[query]
    distractor = np.isin(case.gallery_pids, [] if distractor_pid is None else [distractor_pid])
    present = (case.gallery_pids != -1) & (keep | ~distractor)
    matches = np.flatnonzero(present & ~distractor & (case.gallery_pids == pid) & (case.gallery_camids != camid))
    if pid == -1 or pid == distractor_pid or not len(matches):
        return None
    rivals = np.flatnonzero(present & (case.gallery_pids != pid))
    identity = [("alone", g) if distractor[g] else ("pid", case.gallery_pids[g]) for g in rivals]
    return matches, rivals, identity


def multi_shot(case, max_rank, distractor_pid=None, keep=True):
    """CMC, AP and INP per valid query; a rival at a match's distance is ranked before it."""
    rows = []
    for query, distances in enumerate(case.distances):
        found = split(case, query, distractor_pid, keep)
        if found is None:
            continue
        matches, rivals, _ = found
        is_match = np.r_[np.zeros(len(rivals)), np.ones(len(matches))]
        order = np.lexsort((is_match, np.r_[distances[rivals], distances[matches]]))
        ranks = np.flatnonzero(is_match[order]) + 1
        precision = np.arange(1, len(ranks) + 1) / ranks
        rows.append((ranks[0] <= np.arange(1, max_rank + 1), precision.mean(), len(ranks) / ranks[-1]))
    return tuple(np.array(column, dtype=float) for column in zip(*rows, strict=True)) if rows else None


def exact_single_shot(case, max_rank, distractor_pid=None, keep=False):
    """Expected CMC per valid query: the rank is 1 plus a Poisson-binomial number of identities."""
    rows = []
    for query, distances in enumerate(case.distances):
        found = split(case, query, distractor_pid, keep)
        if found is None:
            continue
        matches, rivals, identity = found
        pictures = {}
        for g, who in zip(rivals, identity, strict=True):
            pictures.setdefault(who, []).append(distances[g])
        cmc = np.zeros(max_rank)
        for match in matches:
            ahead = np.ones(1)
            for theirs in pictures.values():
                chance = np.mean(np.array(theirs) <= distances[match])
                ahead = np.convolve(ahead, [1 - chance, chance])
            cmc += np.pad(np.cumsum(ahead), (0, max_rank), mode="edge")[:max_rank]
        rows.append(cmc / len(matches))
    return np.array(rows) if rows else None


def mixed(x):
    """SplitMix64's output function on Python integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & UINT64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & UINT64
    return x ^ (x >> 31)


def sampled_single_shot(case, max_rank, repeats, seed, distractor_pid=None, keep=False):
    """CMC per valid query over drawn galleries: each identity keeps its picture of the lowest priority."""
    rows = []
    keys = [mixed((seed + STEP * (repeat + 1)) & UINT64) for repeat in range(repeats)]
    for query, distances in enumerate(case.distances):
        found = split(case, query, distractor_pid, keep)
        if found is None:
            continue
        matches, rivals, identity = found
        cmc = np.zeros(max_rank)
        for key in keys:

            def priority(g, key=key):
                return mixed((key + STEP * (int(g) + 1)) & UINT64)

            kept = {}
            for g, who in zip(rivals, identity, strict=True):
                if who not in kept or priority(g) < priority(kept[who]):
                    kept[who] = g
            match = distances[min(matches, key=priority)]
            ahead = sum(distances[g] <= match for g in kept.values())
            cmc += ahead < np.arange(1, max_rank + 1)
        rows.append(cmc / repeats)
    return np.array(rows) if rows else None


def rerank(q_g, q_q, g_g, k1=20, k2=6, weight=0.3):
    """k-reciprocal re-ranking with dense matrices, step by step as published (Zhong et al., CVPR 2017).

    The lower index is the nearer of two equal neighbours. Rows whose distances are all 0 stay 0.
    """
    distances = np.block([[q_q, q_g], [q_g.T, g_g]]).astype(np.float32)
    squares = distances * distances
    largest = squares.max(axis=1, keepdims=True)
    original = np.divide(squares, largest, out=np.zeros_like(squares), where=largest > 0)
    nearest = np.argsort(original, axis=1, kind="stable")
    size, queries = len(original), len(q_q)

    def reciprocal(i, k):
        forward = nearest[i, : k + 1]
        return forward[(nearest[forward, : k + 1] == i).any(axis=1)]

    encoding = np.zeros((size, size), dtype=np.float32)
    for i in range(size):
        near = reciprocal(i, k1)
        expanded = near
        for candidate in near:
            theirs = reciprocal(candidate, round(k1 / 2))
            if len(np.intersect1d(theirs, near)) > 2 / 3 * len(theirs):
                expanded = np.append(expanded, theirs)
        expanded = np.unique(expanded)
        weights = np.exp(-original[i, expanded])
        encoding[i, expanded] = weights / weights.sum()
    if k2 > 1:
        encoding = np.stack([encoding[nearest[i, :k2]].mean(axis=0) for i in range(size)])

    shared = np.array(
        [np.minimum(encoding[i], encoding[queries:]).sum(axis=1) for i in range(queries)], dtype=np.float32
    )
    jaccard = 1 - shared / (2 - shared)
    return jaccard * (1 - weight) + original[:queries, queries:] * weight
