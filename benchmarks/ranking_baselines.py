"""The baselines of the ranking engine: the same figures in plain Python and in numpy.

All take Q×G distances and identities and return CMC (max_rank means), mAP. Same-identity same-camera pictures are
junk, and ties count against the query, so that the figures equal the engine's (but for `numpy_sorting`).
"""

from __future__ import annotations

import numpy as np

Scores = tuple[np.ndarray, float]


def plain_python(
    distances: np.ndarray, qp: np.ndarray, gp: np.ndarray, qc: np.ndarray, gc: np.ndarray, max_rank: int
) -> Scores:
    """A loop over queries and gallery without numpy: sort, walk down the list, count."""
    gallery = list(zip(gp.tolist(), gc.tolist(), strict=True))
    cmc = [0] * max_rank
    precisions = []
    for row, pid, camid in zip(distances.tolist(), qp.tolist(), qc.tolist(), strict=True):
        ranked = sorted(
            (distance, other == pid)
            for distance, (other, camera) in zip(row, gallery, strict=True)
            if other != pid or camera != camid
        )
        found, total = 0, 0.0
        for rank, (_, is_match) in enumerate(ranked, start=1):
            if is_match:
                found += 1
                total += found / rank
                if found == 1:
                    for k in range(rank - 1, max_rank):
                        cmc[k] += 1
        if found:
            precisions.append(total / found)
    return np.array(cmc) / len(precisions), sum(precisions) / len(precisions)


def numpy_sorting(
    distances: np.ndarray, qp: np.ndarray, gp: np.ndarray, qc: np.ndarray, gc: np.ndarray, max_rank: int
) -> Scores:
    """The usual numpy form: argsort the whole matrix at once. Here the gallery's order decides ties."""
    order = np.argsort(distances, axis=1)
    is_match = gp[order] == qp[:, None]
    junk = is_match & (gc[order] == qc[:, None])
    precisions, first = [], []
    for matches in (row[~left_out] for row, left_out in zip(is_match, junk, strict=True)):
        if matches.any():
            ranks = np.flatnonzero(matches) + 1
            first.append(ranks[0])
            precisions.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return (np.array(first)[:, None] <= np.arange(1, max_rank + 1)).mean(axis=0), float(np.mean(precisions))


def numpy_counting(
    distances: np.ndarray, qp: np.ndarray, gp: np.ndarray, qc: np.ndarray, gc: np.ndarray, max_rank: int
) -> Scores:
    """The fastest numpy form known to us: no sort of the gallery, its pictures are counted between the matches."""
    precisions, first = [], []
    for row, pid, camid in zip(distances, qp, qc, strict=True):
        same = gp == pid
        matches = np.sort(row[same & (gc != camid)])
        if not len(matches):
            continue
        rivals = row[~same]
        rivals = rivals[rivals <= matches[-1]]
        ahead = np.bincount(np.searchsorted(matches, rivals), minlength=len(matches)).cumsum()
        ranks = ahead + np.arange(1, len(matches) + 1)
        first.append(ranks[0])
        precisions.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return (np.array(first)[:, None] <= np.arange(1, max_rank + 1)).mean(axis=0), float(np.mean(precisions))


def dense_reranking(
    q_g: np.ndarray, q_q: np.ndarray, g_g: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """k-reciprocal re-ranking as published: whole matrices, one picture at a time (Zhong et al., CVPR 2017)."""
    distances = np.block([[q_q, q_g], [q_g.T, g_g]])
    original = distances**2
    original /= original.max(axis=1, keepdims=True)
    nearest = np.argsort(original, axis=1, kind="stable")
    size, queries = len(original), len(q_q)

    def reciprocal(i: int, k: int) -> np.ndarray:
        forward = nearest[i, : k + 1]
        return forward[(nearest[forward, : k + 1] == i).any(axis=1)]

    encoding = np.zeros_like(original)
    for i in range(size):
        near = expanded = reciprocal(i, k1)
        for candidate in near:
            theirs = reciprocal(candidate, round(k1 / 2))
            if len(np.intersect1d(theirs, near)) > 2 / 3 * len(theirs):
                expanded = np.append(expanded, theirs)
        expanded = np.unique(expanded)
        weights = np.exp(-original[i, expanded])
        encoding[i, expanded] = weights / weights.sum()
    encoding = np.stack([encoding[nearest[i, :k2]].mean(axis=0) for i in range(size)])

    encoded_by = [np.flatnonzero(encoding[:, j]) for j in range(size)]
    result = np.empty_like(q_g)
    for i in range(queries):
        shared = np.zeros(size, dtype=np.float32)
        for j in np.flatnonzero(encoding[i]):
            shared[encoded_by[j]] += np.minimum(encoding[i, j], encoding[encoded_by[j], j])
        jaccard = 1 - shared / (2 - shared)
        result[i] = (jaccard * (1 - weight) + original[i] * weight)[queries:]
    return result
