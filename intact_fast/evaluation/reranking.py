"""Re-ranking by k-reciprocal encoding (Zhong, Zheng, Cao, Li: CVPR 2017).

Two pictures are alike if they have neighbours in common that have them as neighbours in turn. The pairwise
distances of queries and gallery pass by in blocks; what stays in memory is each picture's nearest
neighbours and its sparse encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from intact_fast import _C
from intact_fast.evaluation.distances import Features, Metric, check_features, distance_blocks


@dataclass(frozen=True)
class Reranking:
    """Parameters of the published method, at its published values.

    Attributes:
        k1: Neighbours that are looked at for being reciprocal.
        k2: Neighbours over which an encoding is averaged; 1 leaves it as it is.
        weight: λ, the share of the original distance in the result.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3


def reranked_blocks(
    query_features: Features,
    gallery_features: Features,
    metric: Metric = "euclidean",
    parameters: Reranking | None = None,
    block: int | None = None,
    threads: int = 0,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields re-ranked distances in blocks of queries, in the form of `distance_blocks`.

    A block holds (1 - λ)·Jaccard distance + λ·original, the original distances being squared and divided by
    the largest of the picture's row, as published. Among equally near neighbours the one with the lower
    index, queries first, is nearer. Where all distances of a row are 0, so are the rescaled ones.

    Args:
        query_features: Q×D, any real dtype; taken as float32.
        gallery_features: G×D, on the device of the queries.
        metric: The original distance.
        parameters: k1, k2 and λ; the published ones by default.
        block: Queries per block; None chooses.
        threads: CPU threads; 0 leaves it to OpenMP.

    Returns:
        An iterator over (rows, distances): a slice of the queries and their (≤ block)×G float32 distances.

    Raises:
        ValueError: A parameter out of range, or what `distance_blocks` refuses. Raised by the call itself.
    """
    parameters = parameters or Reranking()
    for name, value in (("k1", parameters.k1), ("k2", parameters.k2)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if parameters.k2 > parameters.k1 + 1:
        raise ValueError(f"k2 must be at most k1 + 1 ({parameters.k1 + 1}), not {parameters.k2}")
    if not 0 <= parameters.weight <= 1:
        raise ValueError(f"weight must be between 0 and 1, not {parameters.weight}")
    query = check_features("query_features", query_features)
    gallery = check_features("gallery_features", gallery_features)
    original = distance_blocks(query, gallery, metric, block)
    return _blocks(torch.cat([query, gallery]), len(query), metric, parameters, original, threads)


def _blocks(
    features: torch.Tensor,
    queries: int,
    metric: Metric,
    parameters: Reranking,
    original: Iterator[tuple[slice, np.ndarray]],
    threads: int,
) -> Iterator[tuple[slice, np.ndarray]]:
    pictures = len(features)
    columns = min(parameters.k1 + 1, pictures)
    neighbours = np.empty((pictures, columns), dtype=np.int32)
    largest_square = np.empty(pictures, dtype=np.float32)
    for rows, distances in distance_blocks(features, features, metric):
        neighbours[rows], largest_square[rows] = _C.nearest_columns(distances, columns, threads=threads)
    encoding = _C.ReciprocalEncoding(
        features.cpu().numpy(),
        neighbours,
        largest_square,
        queries=queries,
        k1=parameters.k1,
        k2=parameters.k2,
        cosine=metric == "cosine",
        threads=threads,
    )
    for rows, distances in original:
        yield rows, encoding.rerank(distances, rows.start, parameters.weight, threads=threads)
