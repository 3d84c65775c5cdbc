"""A layer of φ or σ as the fused operators take it, and its statistics of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from intact_fast.kernels.checks import check_running_statistics, check_tensor, check_vector
from intact_fast.kernels.running_statistics import update_running_statistics


class LinearBN(NamedTuple):
    """A fully connected layer without bias and the batch normalisation after it (N outputs, K inputs)."""

    weight: Tensor
    """N×K."""
    gamma: Tensor | None = None
    """N, or None for 1."""
    beta: Tensor | None = None
    """N, or None for 0."""
    running_mean: Tensor | None = None
    """N; None keeps no running statistics."""
    running_var: Tensor | None = None
    """N."""
    momentum: float = 0.1
    """Weight of a batch in the running statistics."""
    eps: float = 1e-5
    """Added to the variance."""


class BatchStatistics(NamedTuple):
    """A batch's statistics of one layer in training; empty tensors in eval mode."""

    mean: Tensor
    """N."""
    variance: Tensor
    """N, unbiased."""


class Kept(NamedTuple):
    """The tensors that a layer's forward pass keeps for its backward pass."""

    z: Tensor
    """B×N, before the normalisation, in the accumulation type."""
    mean: Tensor
    """N: the batch's in training, the running mean in eval mode."""
    scale: Tensor
    """N: 1/deviation in training, the running variance in eval mode."""


class Wanted(NamedTuple):
    """The gradients that a backward pass is asked for beside those of γ and β."""

    x: bool
    weight: bool
    target: bool


Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""A forward pass's output or loss, z, mean, 1/deviation and unbiased variance; the last three empty in eval mode."""

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]
"""Those of x and of the weight, 2×N of β and γ in the accumulation type, the target's; empty where not asked for."""


def check_layer(x: Tensor, layer: LinearBN, training: bool) -> None:
    """Refuse what the layer's operators cannot take.

    Raises:
        ValueError: A shape, layout or device that does not fit, a single row in training, or no running statistics in
            eval mode.
        TypeError: A dtype that is not supported.
    """
    check_tensor("x", x, dims=2)
    check_tensor("weight", layer.weight, dims=2)
    outputs, inputs = layer.weight.shape
    if inputs != x.shape[1] or layer.weight.device != x.device:
        raise ValueError(
            f"weight must be N×{x.shape[1]} on {x.device}, not {tuple(layer.weight.shape)} on {layer.weight.device}"
        )
    for name in ("gamma", "beta", "running_mean", "running_var"):
        check_vector(name, getattr(layer, name), (outputs,), x)
    if training and len(x) < 2:
        raise ValueError(f"x must hold more than 1 row in training, not {tuple(x.shape)}")
    check_running_statistics(layer.running_mean, layer.running_var, training)


def as_under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as ``F.linear`` would: under autocast to its type."""
    kind = tensors[0].device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def update_layers(layers: list[LinearBN], statistics: list[BatchStatistics]) -> None:
    """Move the running statistics of layers of one momentum, all of them in one launch."""
    running, batch = [], []
    for layer, (mean, variance) in zip(layers, statistics, strict=True):
        if layer.running_mean is not None and layer.running_var is not None:
            running += [layer.running_mean, layer.running_var]
            batch += [mean, variance]
    if running:
        momenta = {layer.momentum for layer in layers}
        assert len(momenta) == 1
        update_running_statistics(running, batch, momenta.pop())
