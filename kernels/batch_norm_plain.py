"""Batch normalisation with activation and residual sum in PyTorch: the operator's implementation on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.kernels.activations import activate, activate_backward
from intact_fast.kernels.pictures import per_channel, positions_of, rounded
from intact_fast.kernels.registration import accumulation_type
from intact_fast.kernels.running_statistics import empty_statistics, running_variance


def _or(vector: Tensor | None, default: float, dtype: torch.dtype) -> Tensor | float:
    return default if vector is None else per_channel(vector, dtype)


def forward_cpu(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the forward pass in PyTorch, rounding once as the kernels do."""
    dtype = accumulation_type(x.dtype)
    wide = x.to(dtype)
    mean, scale, variance = empty_statistics(x, x.shape[1], training)
    if training:
        biased, average = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        mean.copy_(average)
        scale.copy_(torch.rsqrt(biased + eps))
        variance.copy_(running_variance(biased, positions_of(x)))
        used_mean, used_scale = mean, scale
    else:
        assert running_mean is not None
        assert running_var is not None
        used_mean, used_scale = running_mean, torch.rsqrt(running_var.to(dtype) + eps)
    factor = per_channel(used_scale, dtype) * _or(weight, 1.0, dtype)
    y = (wide - per_channel(used_mean, dtype)) * factor + _or(bias, 0.0, dtype)
    if residual is not None:
        y = y + residual
    return rounded(activate(y, activation, slope), x.dtype), mean, scale, variance


def backward_cpu(
    grad: Tensor,
    x: Tensor,
    saved: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
    needs_sums: bool,
    needs_residual: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    dtype = accumulation_type(x.dtype)
    deviation = per_channel(scale if training else torch.rsqrt(scale.to(dtype) + eps), dtype)
    normalised = (x.to(dtype) - per_channel(mean, dtype)) * deviation
    factor = _or(weight, 1.0, dtype)
    y = normalised * factor + _or(bias, 0.0, dtype) if saved is None else saved
    grad_y = activate_backward(grad.to(dtype), y, activation, slope)
    residual = rounded(grad_y, x.dtype) if needs_residual else x.new_empty(0)
    if training or needs_sums:
        sums = torch.stack([grad_y.sum(dim=(0, 2, 3)), (grad_y * normalised).sum(dim=(0, 2, 3))])
    else:
        sums = x.new_empty(2, 0, dtype=dtype)
    if training:
        of_bias, of_weight = (per_channel(row, dtype) / positions_of(x) for row in sums)
        grad_y = grad_y - of_bias - normalised * of_weight
    return rounded(grad_y * deviation * factor, x.dtype), residual, sums
