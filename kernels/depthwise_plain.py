"""Depthwise convolution, batch normalisation and activation in PyTorch: the operator's implementation on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from intact_fast.kernels.activations import activate, activate_backward
from intact_fast.kernels.depthwise_kernels import empty_gradients
from intact_fast.kernels.pictures import per_channel, rounded
from intact_fast.kernels.registration import accumulation_type


def forward_cpu(
    x: Tensor,
    filters: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    activation: str,
    slope: float,
) -> Tensor:
    """Compute the forward pass in PyTorch, rounding once as the kernel does."""
    dtype = accumulation_type(x.dtype)
    z = F.conv2d(x.to(dtype), filters.to(dtype), padding=1, groups=x.shape[1])
    y = (z - per_channel(running_mean, dtype)) * per_channel(_factor(running_var, weight, eps, dtype), dtype)
    if bias is not None:
        y = y + per_channel(bias, dtype)
    return rounded(activate(y, activation, slope), x.dtype)


def backward_cpu(
    grad: Tensor,
    x: Tensor | None,
    out: Tensor | None,
    filters: Tensor,
    weight: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    activation: str,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    dtype, channels = accumulation_type(grad.dtype), grad.shape[1]
    g = grad.to(dtype)
    if out is not None:
        g = activate_backward(g, out, activation, slope)
    factor = _factor(running_var, weight, eps, dtype)
    folded = filters.to(dtype) * factor[:, None, None, None]
    grad_x = rounded(F.conv_transpose2d(g, folded, padding=1, groups=channels), grad.dtype)
    if x is None:
        return grad_x, *empty_gradients(grad, wanted=False)
    sums = conv2d_weight(x.to(dtype), filters.shape, g, padding=1, groups=channels)
    total = g.sum(dim=(0, 2, 3))
    of_weight = (filters.to(dtype) * sums).sum(dim=(1, 2, 3)) - running_mean.to(dtype) * total
    return (
        grad_x,
        sums * factor[:, None, None, None],
        of_weight * torch.rsqrt(running_var.to(dtype) + eps),
        total,
    )


def _factor(running_var: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
    scale = torch.rsqrt(running_var.to(dtype) + eps)
    return scale if weight is None else scale * weight.to(dtype)
