"""Query-to-gallery distances, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Metric = Literal["euclidean", "cosine"]


def check_features(name: str, features: Tensor) -> None:
    """Refuses features that cannot be ranked.

    Args:
        name: What the message calls the argument.
        features: One feature vector per row.

    Raises:
        ValueError: Not a matrix, no rows, or a row that holds NaN or infinity.
    """
    if features.ndim != 2:
        raise ValueError(f"{name} must have one row per picture, not the shape {tuple(features.shape)}")
    if 0 in features.shape:
        raise ValueError(f"{name} is empty: its shape is {tuple(features.shape)}")
    broken = (~torch.isfinite(features)).any(dim=1).nonzero().flatten().tolist()
    if broken:
        raise ValueError(f"{name} holds NaN or infinity in row {broken[0]} ({len(broken)} such rows in all)")


def distance_blocks(
    query_features: Tensor, gallery_features: Tensor, metric: Metric = "euclidean", block: int = 256
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields the distance matrix in blocks of queries, so that it never exists as a whole.

    ``euclidean`` is the distance itself, not its square. ``cosine`` is 1 minus the dot product of the
    normalised vectors; a zero vector is at distance 1 from everything.

    The matrix product runs in float64 whatever the dtype of the features, and what it cannot tell from
    zero (D·eps times the squared norms) is exactly 0: identical vectors are at distance 0. Identical
    gallery rows get bitwise identical distances, so that ties in the features stay ties.

    Args:
        query_features: Q×D, any real dtype and device.
        gallery_features: G×D, on the device of the queries.
        metric: ``euclidean`` or ``cosine``.
        block: Queries per block.

    Returns:
        An iterator over (rows, distances): a slice of the queries and their (≤ block)×G float32 distances.

    Raises:
        ValueError: Unknown metric, block below 1, empty or non-finite features, or unequal D. Raised by the
            call itself, not by the first block.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, not {metric!r}")
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block}")
    check_features("query_features", query_features)
    check_features("gallery_features", gallery_features)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(
            f"gallery_features has {gallery_features.shape[1]} values per row, "
            f"query_features {query_features.shape[1]}"
        )
    query, gallery = (features.detach().double() for features in (query_features, gallery_features))
    if metric == "cosine":
        query, gallery = (_normalised(features) for features in (query, gallery))
    return _blocks(query, gallery, metric, block)


def _normalised(features: Tensor) -> Tensor:
    # Scaling by the largest entry first keeps very small and very large vectors from under- or overflowing.
    largest = features.abs().amax(dim=1, keepdim=True)
    return F.normalize(features / torch.where(largest > 0, largest, 1), dim=1)


def _blocks(query: Tensor, gallery: Tensor, metric: Metric, block: int) -> Iterator[tuple[slice, np.ndarray]]:
    # A matrix product may sum the same column in another order at another place; computing each distinct
    # row once is what makes equal rows tie.
    distinct, row_of = torch.unique(gallery, dim=0, return_inverse=True)
    has_duplicates = len(distinct) < len(gallery)
    columns = distinct if has_duplicates else gallery
    unresolved = query.shape[1] * torch.finfo(torch.float64).eps
    squared_norms = columns.square().sum(dim=1)

    for start in range(0, len(query), block):
        rows = slice(start, min(start + block, len(query)))
        products = query[rows] @ columns.T
        if metric == "euclidean":
            scale = query[rows].square().sum(dim=1, keepdim=True) + squared_norms
            squared = scale - 2 * products
            distances = squared.masked_fill(squared <= unresolved * scale, 0).sqrt()
        else:
            distances = 1 - products
            distances.masked_fill_(distances <= unresolved, 0)
        distances = distances.float()
        yield rows, (distances[:, row_of] if has_duplicates else distances).cpu().numpy()
