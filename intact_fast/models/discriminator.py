"""The discriminator D (SRGAN's layers, Ledig et al. 2017, the paper's [19])."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from intact_fast.models.fused import Fusable, norm_relu

FeatureName = Literal["head", "pool", "conv5"]

_CONV5 = 4


class DiscriminatorOutput(NamedTuple):
    """Logits and features of one pass through D."""

    logits: Tensor
    """N real-versus-fake logits, before the sigmoid; conditional ones where D was given a condition."""
    head: Tensor
    """N×hidden, the activation before the last layer: f_d of the paper."""
    pool: Tensor
    """N×widths[3], the average-pooled last convolution."""
    conv5: Tensor
    """N×widths[2], the average-pooled fifth convolution."""

    def feature(self, name: FeatureName) -> Tensor:
        """Return the activation that serves as f_d."""
        return getattr(self, name)


class _ConvBNLeaky(Fusable):
    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=not norm)
        self.bn = nn.BatchNorm2d(out_channels, track_running_stats=False) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(self.bn, self.conv(x), self.kernels, slope=0.2)


class Discriminator(nn.Module):
    """Eight 3×3 convolutions, every second one with stride 2, then FC, LeakyReLU, FC.

    Batch normalisation always uses the batch and keeps no running statistics. So D has no buffers, and
    behaves the same in its own update and as a critic of G.

    Args:
        widths: Channels of the four pairs of convolutions.
        hidden: Width of the fully connected layer.
        head: ``pool`` averages over positions before it; ``flatten`` keeps them all.
        input_size: (height, width) of the pictures, needed by ``flatten`` only.
        condition_dim: Dimension of what a projection discriminator is given with each picture; None judges pictures
            alone.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        hidden: int = 1024,
        head: Literal["pool", "flatten"] = "pool",
        input_size: tuple[int, int] = (256, 128),
        condition_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        channels = [3, *(width for width in widths for _ in range(2))]
        self.convs = nn.ModuleList(
            _ConvBNLeaky(a, b, stride=1 + i % 2, norm=i > 0) for i, (a, b) in enumerate(itertools.pairwise(channels))
        )
        features = widths[-1]
        if head == "flatten":
            height, width = input_size
            for _ in widths:
                height, width = (height + 1) // 2, (width + 1) // 2
            features *= height * width
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, 1)
        self.projection: nn.Linear | None = None
        if condition_dim is not None:
            # from zero: at first D is the one without a condition
            self.projection = nn.Linear(condition_dim, hidden, bias=False)
            nn.init.zeros_(self.projection.weight)
        self.feature_dims: dict[FeatureName, int] = {"head": hidden, "pool": widths[-1], "conv5": widths[2]}

    def forward(self, images: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        """Judge pictures.

        With a condition, the logit is ``w·h + <V f, h>`` with h the activation before the last layer, V linear and f
        the condition at unit length (Miyato and Koyama 2018, "cGANs with Projection Discriminator", Eq. 3).

        Args:
            images: N×3×H×W, ImageNet-normalised.
            condition: N×condition_dim; None leaves the second term out, and concerns no feature.
        """
        x = images
        conv5 = x
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i == _CONV5:
                conv5 = x.mean(dim=(2, 3))
        pool = x.mean(dim=(2, 3))
        head = F.leaky_relu(self.fc1(pool if self.head == "pool" else x.flatten(1)), 0.2)
        logits = self.fc2(head).squeeze(1)
        if condition is not None:
            assert self.projection is not None, "D was built without a condition"
            # f_c is long and has one sign: at its own length, a step of Adam would move all logits by far more than all
            # other layers do together
            projected = self.projection(F.normalize(condition.float(), dim=1))
            logits = logits + (projected * head).sum(dim=1)
        return DiscriminatorOutput(logits, head, pool, conv5)
