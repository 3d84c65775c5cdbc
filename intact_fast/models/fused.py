"""Parts of networks that have a fused form, and the choice between it and PyTorch's own operators."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intact_fast.kernels import (
    BatchStatistics,
    Kernels,
    LinearBN,
    batch_norm_act,
    depthwise_norm_act,
    linear_bn,
    update_layers,
    uses_operator,
)


class Fusable(nn.Module):
    """A module that can run on the fused operators of :mod:`intact_fast.kernels`.

    Attributes:
        kernels: Which implementation runs, as `uses_operator` documents; set by `select_kernels`.
    """

    kernels: Kernels = "torch"


def select_kernels(module: nn.Module, kernels: Kernels) -> None:
    """Choose the implementation of every part of a network that has a fused form."""
    for part in module.modules():
        if isinstance(part, Fusable):
            part.kernels = kernels


def norm_relu(
    norm: nn.Module,
    x: Tensor,
    kernels: Kernels,
    *,
    residual: Tensor | None = None,
    slope: float | None = None,
) -> Tensor:
    """Normalise, add an optional residual tensor, then ReLU or LeakyReLU.

    The running statistics of ``norm`` are updated as its own forward pass would. Synchronised batch normalisation
    and cumulative averages (``momentum=None``) always run as they are.

    Args:
        norm: Any normalisation; a plain BatchNorm2d has a fused form.
        x: N×C×H×W.
        kernels: Which implementation runs.
        residual: N×C×H×W.
        slope: Of negative values; None for ReLU.
    """
    if (
        type(norm) is nn.BatchNorm2d
        and norm.momentum is not None
        and uses_operator(kernels, "batch_norm_act", x, residual)
    ):
        keeps = norm.track_running_stats and norm.running_mean is not None
        if norm.training and keeps:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
        return batch_norm_act(
            x,
            norm.weight,
            norm.bias,
            norm.running_mean if keeps else None,
            norm.running_var if keeps else None,
            residual,
            training=norm.training or not keeps,
            momentum=norm.momentum,
            eps=norm.eps,
            activation="relu" if slope is None else "leaky_relu",
            negative_slope=slope or 0.0,
        )
    y = norm(x)
    if residual is not None:
        y = y + residual
    return torch.relu(y) if slope is None else F.leaky_relu(y, slope)


def depthwise_norm_relu(conv: nn.Conv2d, norm: nn.Module, x: Tensor, kernels: Kernels) -> Tensor:
    """Convolve depthwise, normalise, then ReLU.

    A plain BatchNorm2d that keeps its running statistics has a fused form, behind a 3×3 convolution without bias and on
    channels-last pictures. What instance normalisation leaves behind is not channels-last.

    Args:
        conv: Depthwise, of stride 1.
        norm: Any normalisation.
        x: N×C×H×W.
        kernels: Which implementation runs.
    """
    if (
        type(norm) is nn.BatchNorm2d
        and not norm.training
        and norm.running_mean is not None
        and norm.running_var is not None
        and conv.bias is None
        and x.is_contiguous(memory_format=torch.channels_last)
        and uses_operator(kernels, "depthwise_norm_act", x)
    ):
        statistics = norm.running_mean, norm.running_var
        return depthwise_norm_act(x, conv.weight, *statistics, norm.weight, norm.bias, eps=norm.eps, activation="relu")
    return torch.relu(norm(conv(x)))


class FCStack(Fusable, nn.Sequential):
    """Fully connected layers each followed by batch normalisation, with ReLU between them.

    Args:
        dims: Widths from the input on.
        last_affine: Whether the last normalisation has γ and β.
    """

    def __init__(self, dims: list[int], last_affine: bool) -> None:
        layers: list[nn.Module] = []
        last = len(dims) - 2
        for i, (a, b) in enumerate(itertools.pairwise(dims)):
            # batch normalisation removes any constant, so a bias would be a parameter without effect
            layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b, affine=i < last or last_affine)]
            if i < last:
                layers.append(nn.ReLU())
        super().__init__(*layers)

    def fuses(self, x: Tensor) -> bool:
        """Tell whether the fused form runs on this input; never where a normalisation was replaced (SyncBN)."""
        plain = all(type(norm) is nn.BatchNorm1d and norm.momentum is not None for norm in self.norms)
        return plain and uses_operator(self.kernels, "association", x)

    @property
    def linears(self) -> list[nn.Linear]:
        """The fully connected layers in order."""
        layers: list[Any] = list(self)
        return layers[::3]

    @property
    def norms(self) -> list[nn.BatchNorm1d]:
        """The normalisations in order."""
        layers: list[Any] = list(self)
        return layers[1::3]

    @property
    def linear_bns(self) -> list[LinearBN]:
        """The layers as the fused operators take them; `fuses` tells whether they do."""
        found = []
        for linear, norm in zip(self.linears, self.norms, strict=True):
            assert norm.momentum is not None
            vectors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            found.append(LinearBN(linear.weight, *vectors, norm.momentum, norm.eps))
        return found

    def run_fused(self, x: Tensor, skip_last: bool = False) -> tuple[Tensor, list[BatchStatistics]]:
        """Run the fused form and leave the running statistics to `update_stacks`.

        Args:
            x: N×dims[0].
            skip_last: Stop before the last layer.
        """
        layers = self.linear_bns
        statistics = []
        for layer in layers[:-1]:
            x, found = linear_bn(x, layer, training=self.training, activation="relu")
            statistics.append(found)
        if not skip_last:
            x, found = linear_bn(x, layers[-1], training=self.training, activation="none")
            statistics.append(found)
        return x, statistics

    def forward(self, x: Tensor) -> Tensor:
        """Map N×dims[0] to N×dims[-1]."""
        if not self.fuses(x):
            return super().forward(x)  # type: ignore[no-untyped-call]
        x, statistics = self.run_fused(x)
        if self.training:
            update_stacks({self: statistics})
        return x


def update_stacks(found: dict[FCStack, list[BatchStatistics]]) -> None:
    """Update the running statistics of all layers of some stacks at once, as their own forward passes would."""
    layers = [layer for stack in found for layer in stack.linear_bns]
    update_layers(layers, [statistics for each in found.values() for statistics in each])
    counters = [norm.num_batches_tracked for stack in found for norm in stack.norms]
    torch._foreach_add_([counter for counter in counters if counter is not None], 1)
