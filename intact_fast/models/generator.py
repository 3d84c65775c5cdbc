"""The super-resolution generator G (paper section 4.3 and Fig. 3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from intact_fast.kernels import pixel_shuffle_act, uses_operator
from intact_fast.models.fused import Fusable, norm_relu


class ResidualBlock(Fusable):
    """conv3×3-BN-ReLU-conv3×3-BN plus shortcut, then ReLU (He et al. 2016, the paper's [15])."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H×W."""
        inner = norm_relu(self.bn1, self.conv1(x), self.kernels)
        return norm_relu(self.bn2, self.conv2(inner), self.kernels, residual=self.shortcut(x))


class PixelShuffleUp(Fusable):
    """conv3×3 to four times the channels, ReLU, 2× pixel shuffle, plus an optional skip tensor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Map N×C×H×W to N×C×2H×2W; ``skip`` has the output's shape."""
        if uses_operator(self.kernels, "pixel_shuffle_act", x, skip):
            # the operator adds the bias
            x = self.conv._conv_forward(x, self.conv.weight, None)
            return pixel_shuffle_act(x, self.conv.bias, skip, activation="relu")
        x = self.shuffle(torch.relu(self.conv(x)))
        return x if skip is None else x + skip


def _group(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * blocks
    return nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(widths)))


class Generator(nn.Module):
    """Encoder of residual groups with max pooling, mirrored decoder with pixel shuffling.

    With the default widths: 16 residual blocks in 8 groups, the resolution drops 16 times and comes
    back (section 4.3). Input and output are ImageNet-normalised pictures, without output activation.

    Args:
        widths: Channels of the encoder's groups; the decoder mirrors them.
        blocks_per_group: Residual blocks in each group.
        skip: ``add`` sums the encoder's output before each pooling into the decoder.
        global_residual: Return ``x_l`` plus a correction; the tail then starts at zero, so that an
            untrained G returns its input.

    Attributes:
        settings: The arguments, as plain values.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks_per_group: int = 2,
        skip: Literal["none", "add"] = "none",
        global_residual: bool = False,
    ) -> None:
        super().__init__()
        self.settings = {
            "widths": list(widths),
            "blocks_per_group": blocks_per_group,
            "skip": skip,
            "global_residual": global_residual,
        }
        self.skip = skip
        self.global_residual = global_residual
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.encoder = nn.ModuleList(_group(a, b, blocks_per_group) for a, b in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        mirrored = list(reversed(widths))
        inputs = [mirrored[0], *mirrored[:-1]]
        self.decoder = nn.ModuleList(_group(a, b, blocks_per_group) for a, b in zip(inputs, mirrored, strict=True))
        self.up = nn.ModuleList(PixelShuffleUp(width) for width in mirrored)
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1)
        if global_residual:
            for parameter in self.tail.parameters():
                nn.init.zeros_(parameter)

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2 ** len(self.encoder)

    def forward(self, x_l: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            x_l: N×3×H×W, the LR picture already resized to the target size.

        Returns:
            N×3×H×W.
        """
        x = self.stem(x_l)
        skips: list[Tensor] = []
        for group in self.encoder:
            x = group(x)
            skips.append(x)
            x = self.pool(x)
        for group, up in zip(self.decoder, self.up, strict=True):
            skip = skips.pop()
            x = up(group(x), skip if self.skip == "add" else None)
        x = self.tail(x)
        return x_l + x if self.global_residual else x
