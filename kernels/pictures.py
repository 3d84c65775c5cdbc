"""Channels-last pictures, as the picture operators share them."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.kernels.checks import check_beside, check_tensor
from intact_fast.kernels.launch import empty


def positions_of(x: Tensor) -> int:
    """Rows M of the matrix that N×C×H×W pictures are."""
    return x.shape[0] * x.shape[2] * x.shape[3]


def picture_like(x: Tensor) -> Tensor:
    """Room for pictures of x's shape and type, channels-last."""
    return empty(*x.shape, like=x, channels_last=True)


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures in ``dtype``, channels-last, always in memory of their own."""
    return empty(*x.shape, like=x, dtype=dtype, channels_last=True).copy_(x)


def per_channel(vector: Tensor, dtype: torch.dtype) -> Tensor:
    """A vector of C values as one that broadcasts over N×C×H×W."""
    return vector.to(dtype)[None, :, None, None]


def with_summand(name: str, x: Tensor, summand: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Bring x and pictures that are added to the result to the wider of their types.

    Raises:
        ValueError: ``summand`` is not channels-last, not of ``shape``, or on another device than x.
        TypeError: A dtype that is not supported.
    """
    if summand is None:
        return x, None
    check_tensor(name, summand, dims=4, channels_last=True)
    check_beside(name, summand, shape, x)
    dtype = torch.promote_types(x.dtype, summand.dtype)
    return x.to(dtype), summand.to(dtype)
