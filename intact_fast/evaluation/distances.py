"""Query-to-gallery distances, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from intact_fast import _C

Metric = Literal["euclidean", "cosine"]
Features = Tensor | np.ndarray

# Gallery rows converted to float64 at a time: their products with a block of queries stay in the cache.
_COLUMNS = 1024
# Queries per block: enough to keep the matrix product busy, as long as a block takes no more memory than this.
_QUERIES, _BLOCK_BYTES = 512, 1 << 28


def check_features(name: str, features: Features) -> Tensor:
    """Takes features as float32 and refuses those that cannot be ranked.

    Args:
        name: What the message calls the argument.
        features: N×D real numbers, one feature vector per row.

    Returns:
        N×D float32, detached, on the device that it was on; not a copy where none is needed.

    Raises:
        ValueError: Not a matrix of real numbers, no rows, or a row that holds NaN or infinity (as float32).
    """
    if isinstance(features, np.ndarray) and features.dtype.kind in "biuf":
        with np.errstate(over="ignore"):  # what overflows is refused below, with its row
            features = torch.from_numpy(np.require(features, np.float32, ["C", "W"]))
    if not isinstance(features, Tensor) or features.is_complex():
        kind = getattr(features, "dtype", type(features).__name__)
        raise ValueError(f"{name} must be a tensor or an array of real numbers, not {kind}")
    if features.ndim != 2:
        raise ValueError(f"{name} must have one row per picture, not the shape {tuple(features.shape)}")
    if 0 in features.shape:
        raise ValueError(f"{name} is empty: its shape is {tuple(features.shape)}")
    features = features.detach().float().contiguous()
    finite = _by_pieces(lambda rows: torch.isfinite(rows).all(dim=1), features, torch.bool)
    broken = (~finite).nonzero().flatten().tolist()
    if broken:
        raise ValueError(f"{name} holds NaN or infinity in row {broken[0]} ({len(broken)} such rows in all)")
    return features


def _by_pieces(function: Callable[[Tensor], Tensor], features: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute one number per row, without temporaries of the features' own size.

    Results collected in a list would lie between the freed temporaries, and the heap would grow all the same.
    """
    result = torch.empty(len(features), dtype=dtype, device=features.device)
    for rows, numbers in zip(features.split(_COLUMNS), result.split(_COLUMNS), strict=True):
        numbers.copy_(function(rows))
    return result


def distance_blocks(
    query_features: Features,
    gallery_features: Features,
    metric: Metric = "euclidean",
    block: int | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields the distance matrix in blocks of queries, so that it never exists as a whole.

    ``euclidean`` is the distance itself, not its square. ``cosine`` is 1 minus the dot product of the
    normalised vectors; a zero vector is at distance 1 from everything.

    The matrix product runs in float64. What it cannot tell from zero (D·eps times the squared norms) is exactly
    0, so that identical vectors are at distance 0. Identical gallery rows get bitwise identical
    distances, so that ties in the features stay ties.

    Args:
        query_features: Q×D, any real dtype and device; taken as float32.
        gallery_features: G×D, on the device of the queries.
        metric: ``euclidean`` or ``cosine``.
        block: Queries per block; None chooses, within 256 MiB a block.

    Returns:
        An iterator over (rows, distances): a slice of the queries and their (≤ block)×G float32 distances.

    Raises:
        ValueError: Unknown metric, block below 1, empty or non-finite features, unequal D, or two devices.
            Raised by the call itself, not by the first block.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, not {metric!r}")
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, not {block}")
    query = check_features("query_features", query_features)
    gallery = check_features("gallery_features", gallery_features)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"gallery_features has {gallery.shape[1]} values per row, query_features {query.shape[1]}")
    if query.device != gallery.device:
        raise ValueError(f"gallery_features is on {gallery.device}, query_features on {query.device}")
    fitting = max(1, _BLOCK_BYTES // (4 * len(gallery)))
    return _blocks(query, gallery, metric, block or min(_QUERIES, fitting))


def _blocks(query: Tensor, gallery: Tensor, metric: Metric, block: int) -> Iterator[tuple[slice, np.ndarray]]:
    # A matrix product may sum the same column in another order at another place; copying the distances of
    # the first of equal rows is what makes them tie.
    first = torch.from_numpy(_C.first_equal_rows(gallery.cpu().numpy())).to(gallery.device)
    repeated = (first != torch.arange(len(first), device=first.device)).nonzero().flatten()
    square_of_gallery = _by_pieces(lambda rows: rows.double().square().sum(dim=1), gallery, torch.float64)
    for start in range(0, len(query), block):
        rows = slice(start, min(start + block, len(query)))
        some = query[rows].double()
        distances = torch.empty(len(some), len(gallery), device=gallery.device)
        for column in range(0, len(gallery), _COLUMNS):
            columns = slice(column, column + _COLUMNS)
            distances[:, columns] = _distances(some, gallery[columns].double(), square_of_gallery[columns], metric)
        if len(repeated):
            distances[:, repeated] = distances[:, first[repeated]]
        yield rows, distances.cpu().numpy()


def _distances(query: Tensor, gallery: Tensor, square_of_gallery: Tensor, metric: Metric) -> Tensor:
    square_of_query = query.square().sum(dim=1, keepdim=True)
    unresolved = query.shape[1] * torch.finfo(torch.float64).eps
    if metric == "euclidean":
        squares = torch.addmm(square_of_gallery, query, gallery.T, alpha=-2).add_(square_of_query)
        # Where the distance is that small both squared norms are the query's.
        return squares.masked_fill_(squares <= 2 * unresolved * square_of_query, 0).sqrt_()
    inverse_norms = [square.rsqrt().masked_fill_(square == 0, 0) for square in (square_of_query, square_of_gallery)]
    distances = (query * -inverse_norms[0]) @ (gallery.T * inverse_norms[1])
    distances.add_(1)
    return distances.masked_fill_(distances <= unresolved, 0)
