"""The statistics of batch normalisation: those of a batch, and the running ones as PyTorch updates them."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.kernels.launch import empty
from intact_fast.kernels.registration import accumulation_type


def empty_statistics(x: Tensor, size: int, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the mean, 1/deviation and unbiased variance of ``size`` channels of x; for none in eval mode."""
    dtype = accumulation_type(x.dtype)
    mean, scale, variance = (empty(size if training else 0, like=x, dtype=dtype) for _ in range(3))
    return mean, scale, variance


def running_variance(biased: Tensor, count: int) -> Tensor:
    """The unbiased variance, which running statistics hold, from the biased one of ``count`` values."""
    return biased * (count / max(count - 1, 1))


def affine_gradients(
    sums: Tensor, weight: Tensor | None, bias: Tensor | None, wants_weight: bool, wants_bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of γ and β in their own types, from the 2×N sums of β and γ that a backward pass gives.

    Args:
        sums: 2×N: the gradients of β and of γ in the accumulation type.
        weight: γ.
        bias: β.
        wants_weight: Whether autograd asks for γ's.
        wants_bias: Whether it asks for β's.
    """
    return (
        sums[1].to(weight.dtype) if weight is not None and wants_weight else None,
        sums[0].to(bias.dtype) if bias is not None and wants_bias else None,
    )


@torch.no_grad()
def update_running_statistics(running: list[Tensor], batch: list[Tensor], momentum: float) -> None:
    """Move running statistics towards those of the batch, all of them in one launch.

    Args:
        running: Tensors to update in place.
        batch: As many of the same shapes.
        momentum: Weight of the batch.
    """
    torch._foreach_lerp_(running, [new.to(old.dtype) for old, new in zip(running, batch, strict=True)], momentum)
