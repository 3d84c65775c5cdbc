"""A fully connected layer with batch normalisation in PyTorch: on the CPU, and for batches beyond one tile."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.kernels.launch import empty
from intact_fast.kernels.registration import accumulation_type
from intact_fast.kernels.running_statistics import running_variance

Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Output (or loss), z, mean, 1/deviation and unbiased variance; the last three are empty in eval mode."""


def plain_forward(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One layer in PyTorch on any device: y in the accumulation type, z, mean, 1/deviation, variance."""
    dtype = accumulation_type(x.dtype)
    z = x.to(dtype) @ weight.to(dtype).T
    if training:
        biased, mean = torch.var_mean(z, dim=0, correction=0)
        scale, variance = torch.rsqrt(biased + eps), running_variance(biased, len(x))
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, scale, variance = (z.new_empty(0) for _ in range(3))
    used_mean = mean if training else running_mean.to(dtype)  # type: ignore[union-attr]
    used_scale = scale if training else torch.rsqrt(running_var.to(dtype) + eps)  # type: ignore[union-attr]
    y = (z - used_mean) * (used_scale * _or(gamma, 1.0, dtype)) + _or(beta, 0.0, dtype)
    return torch.relu(y) if relu else y, z, mean, scale, variance


def plain_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer's backward pass in PyTorch from the gradient before ReLU: of x, of the weight, 2×N of β and γ."""
    dtype = z.dtype
    deviation = scale if training else torch.rsqrt(scale.to(dtype) + eps)
    normalised = (z - mean.to(dtype)) * deviation
    sums = torch.stack([grad_y.sum(dim=0), (grad_y * normalised).sum(dim=0)])
    if training:
        grad_y = grad_y - sums[0] / len(x) - normalised * (sums[1] / len(x))
    grad_z = grad_y * (deviation * _or(gamma, 1.0, dtype))
    return (
        (grad_z @ weight.to(dtype)).to(x.dtype) if needs_x else x.new_empty(0),
        (grad_z.T @ x.to(dtype)).to(weight.dtype) if needs_weight else weight.new_empty(0),
        sums,
    )


def normalised_output(
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    training: bool,
    eps: float,
) -> Tensor:
    """The output before ReLU, again from z, in PyTorch."""
    deviation = scale if training else torch.rsqrt(scale.to(z.dtype) + eps)
    return (z - mean.to(z.dtype)) * (deviation * _or(gamma, 1.0, z.dtype)) + _or(beta, 0.0, z.dtype)


def _or(vector: Tensor | None, default: float, dtype: torch.dtype) -> Tensor | float:
    return default if vector is None else vector.to(dtype)


def layer_fakes(x: Tensor, weight: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, mean, 1/deviation and variance of the right shape and type."""
    dtype, outputs = accumulation_type(x.dtype), weight.shape[0]
    z = empty(x.shape[0], outputs, like=x, dtype=dtype)
    mean, scale, variance = (empty(outputs if training else 0, like=x, dtype=dtype) for _ in range(3))
    return z, mean, scale, variance


def backward_fake(x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x and of the weight, and 2×N, of the right shape and type."""
    dtype = accumulation_type(x.dtype)
    return (
        empty(*x.shape, like=x) if needs_x else x.new_empty(0),
        empty(*weight.shape, like=weight) if needs_weight else weight.new_empty(0),
        empty(2, weight.shape[0], like=x, dtype=dtype),
    )
