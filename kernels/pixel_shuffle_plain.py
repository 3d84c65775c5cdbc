"""Bias, activation, 2× pixel shuffle and skip tensor in PyTorch: the operator's implementation on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import activate, activate_backward
from intact_fast.kernels.pictures import per_channel, rounded
from intact_fast.kernels.pixel_shuffle_kernels import has_one_slope
from intact_fast.kernels.registration import accumulation_type


def _slope_of(slope: Tensor | None, negative_slope: float, dtype: torch.dtype) -> float | Tensor:
    return negative_slope if slope is None else per_channel(slope, dtype)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    dtype = accumulation_type(x.dtype)
    return x.to(dtype) if bias is None else x.to(dtype) + per_channel(bias, dtype)


def forward_cpu(
    x: Tensor,
    bias: Tensor | None,
    slope: Tensor | None,
    skip: Tensor | None,
    activation: str,
    negative_slope: float,
) -> Tensor:
    """Compute the forward pass in PyTorch, rounding once as the kernel does."""
    y = _with_bias(x, bias)
    y = F.pixel_shuffle(activate(y, activation, _slope_of(slope, negative_slope, y.dtype)), 2)
    return rounded(y if skip is None else y + skip, x.dtype)


def backward_cpu(
    grad: Tensor,
    saved: Tensor | None,
    from_output: bool,
    bias: Tensor | None,
    slope: Tensor | None,
    activation: str,
    negative_slope: float,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    dtype = accumulation_type(grad.dtype)
    grad_y = F.pixel_unshuffle(grad.to(dtype), 2)
    grad_slope = grad.new_empty(0, dtype=dtype)
    if saved is not None:
        y = F.pixel_unshuffle(saved.to(dtype), 2) if from_output else _with_bias(saved, bias)
        if slope is not None:
            per_value = torch.where(y > 0, 0, grad_y * y)
            grad_slope = per_value.sum().view(1) if has_one_slope(slope) else per_value.sum(dim=(0, 2, 3))
        grad_y = activate_backward(grad_y, y, activation, _slope_of(slope, negative_slope, dtype))
    grad_bias = grad_y.sum(dim=(0, 2, 3)) if needs_bias else grad.new_empty(0, dtype=dtype)
    return rounded(grad_y, grad.dtype), grad_bias, grad_slope
