"""A fully connected layer with batch normalisation in PyTorch: on the CPU, and for batches beyond one tile.

A layer ends in its output, with or without ReLU. Or it ends in its mean squared error against a target, then without
ReLU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.launch import empty
from intact_fast.kernels.linear_bn_layer import Gradients, Kept, LinearBN, Results, Wanted
from intact_fast.kernels.registration import accumulation_type
from intact_fast.kernels.running_statistics import empty_statistics, running_variance


def plain_forward(x: Tensor, layer: LinearBN, target: Tensor | None, *, training: bool, relu: bool) -> Results:
    """Run one layer in PyTorch on any device.

    Args:
        x: B×K.
        layer: The layer.
        target: B×N; the result is then the mean squared error against it.
        training: Normalise by the batch's statistics.
        relu: Whether ReLU follows.
    """
    dtype = accumulation_type(x.dtype)
    z = x.to(dtype) @ layer.weight.to(dtype).T
    if training:
        biased, mean = torch.var_mean(z, dim=0, correction=0)
        scale, variance = torch.rsqrt(biased + layer.eps), running_variance(biased, len(x))
        kept = Kept(z, mean, scale)
    else:
        mean, scale, variance = (z.new_empty(0) for _ in range(3))
        kept = kept_in_eval_mode(z, layer)
    y = normalised_output(kept, layer, training)
    if target is not None:
        out = F.mse_loss(y, target.to(y.dtype))
    else:
        # a new tensor even where nothing is converted: results may not share memory with each other
        out = (torch.relu(y) if relu else y).to(x.dtype, copy=True)
    return out, z, mean, scale, variance


def plain_backward(
    grad: Tensor,
    x: Tensor,
    layer: LinearBN,
    kept: Kept,
    target: Tensor | None,
    *,
    training: bool,
    relu: bool,
    wanted: Wanted,
) -> Gradients:
    """Run one layer's backward pass in PyTorch on any device.

    Args:
        grad: B×N; with a target a scalar.
        x: B×K.
        layer: The layer; its running statistics are not looked at.
        kept: The tensors that the forward pass kept.
        target: B×N or None.
        training: Whether the batch's statistics normalised.
        relu: Whether ReLU followed.
        wanted: The gradients asked for.
    """
    dtype = kept.z.dtype
    grad_y, grad_target = grad.to(dtype), x.new_empty(0)
    if target is not None:
        y = normalised_output(kept, layer, training)
        grad_y = grad * (2.0 / y.numel()) * (y - target.to(dtype))
        if wanted.target:
            grad_target = (-grad_y).to(target.dtype)
    elif relu:
        grad_y = torch.where(normalised_output(kept, layer, training) <= 0, 0, grad_y)
    deviation = _inverse_deviation(kept, layer, training)
    normalised = (kept.z - kept.mean.to(dtype)) * deviation
    sums = torch.stack([grad_y.sum(dim=0), (grad_y * normalised).sum(dim=0)])
    if training:
        grad_y = grad_y - sums[0] / len(x) - normalised * (sums[1] / len(x))
    grad_z = grad_y * (deviation * _or(layer.gamma, 1.0, dtype))
    return (
        (grad_z @ layer.weight.to(dtype)).to(x.dtype) if wanted.x else x.new_empty(0),
        (grad_z.T @ x.to(dtype)).to(layer.weight.dtype) if wanted.weight else layer.weight.new_empty(0),
        sums,
        grad_target,
    )


def kept_in_eval_mode(z: Tensor, layer: LinearBN) -> Kept:
    """The tensors that the backward pass of a layer in eval mode needs."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return Kept(z, layer.running_mean, layer.running_var)


def normalised_output(kept: Kept, layer: LinearBN, training: bool) -> Tensor:
    """The output before ReLU from z, in the accumulation type."""
    dtype = kept.z.dtype
    factor = _inverse_deviation(kept, layer, training) * _or(layer.gamma, 1.0, dtype)
    return (kept.z - kept.mean.to(dtype)) * factor + _or(layer.beta, 0.0, dtype)


def _inverse_deviation(kept: Kept, layer: LinearBN, training: bool) -> Tensor:
    return kept.scale if training else torch.rsqrt(kept.scale.to(kept.z.dtype) + layer.eps)


def _or(vector: Tensor | None, default: float, dtype: torch.dtype) -> Tensor | float:
    return default if vector is None else vector.to(dtype)


def forward_fake(x: Tensor, layer: LinearBN, target: Tensor | None, *, training: bool, relu: bool) -> Results:
    """Results of the right shape and type, of no value."""
    rows, outputs, dtype = len(x), len(layer.weight), accumulation_type(x.dtype)
    out = empty(rows, outputs, like=x) if target is None else x.new_empty((), dtype=dtype)
    return out, empty(rows, outputs, like=x, dtype=dtype), *empty_statistics(x, outputs, training)


def backward_fake(
    grad: Tensor,
    x: Tensor,
    layer: LinearBN,
    kept: Kept,
    target: Tensor | None,
    *,
    training: bool,
    relu: bool,
    wanted: Wanted,
) -> Gradients:
    """Gradients of the right shape and type, of no value."""
    return (
        empty(*x.shape, like=x) if wanted.x else x.new_empty(0),
        empty(*layer.weight.shape, like=layer.weight) if wanted.weight else layer.weight.new_empty(0),
        empty(2, len(layer.weight), like=x, dtype=accumulation_type(x.dtype)),
        empty(*target.shape, like=target) if target is not None and wanted.target else x.new_empty(0),
    )
