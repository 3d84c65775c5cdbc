"""The light super-resolution network G: a residual body at a fraction of the input's size. Not in the paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BranchedConv(nn.Module):
    """A 3×3 convolution trained as three branches, 3×3, 1×1 and identity, and served as one (RepVGG, Ding et al. 2021).

    Args:
        channels: Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.point = nn.Conv2d(channels, channels, 1, bias=False)
        self.through = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        return self.wide(x) + self.point(x) + x * self.through[:, None, None]

    def merged(self) -> nn.Conv2d:
        """The one convolution that computes the same."""
        conv = nn.Conv2d(self.wide.in_channels, self.wide.out_channels, 3, padding=1)
        centre = self.point.weight + torch.diag(self.through)[:, :, None, None]
        conv.weight.data = (self.wide.weight + F.pad(centre, (1, 1, 1, 1))).detach()
        assert self.wide.bias is not None
        conv.bias = nn.Parameter(self.wide.bias.detach().clone())
        return conv.to(self.wide.weight.device)


class LightBlock(nn.Module):
    """conv3×3-ReLU-conv3×3 plus its input, without normalisation; it starts as the identity.

    Args:
        width: Channels.
        reparameterised: Whether the convolutions are trained in branches.
    """

    def __init__(self, width: int, reparameterised: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            BranchedConv(width) if reparameterised else nn.Conv2d(width, width, 3, padding=1) for _ in range(2)
        )
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H×W."""
        return x + self.conv2(torch.relu(self.conv1(x)))


class LightGenerator(nn.Module):
    """Pixel-unshuffle, residual blocks at that size, pixel-shuffle: x_l plus a correction.

    The body works on H/factor×W/factor positions, which is about the native size of an LR picture: it sees all of the
    enlarged picture's pixels as channels and computes nothing at full size. Its last convolution starts at zero, so
    that an untrained G returns its input.

    Args:
        width: Channels of the body.
        blocks: Residual blocks.
        factor: How many times smaller the body is than the input.
        reparameterised: Train the body's convolutions in branches; `merged` gives what is served.

    Attributes:
        settings: The arguments, as plain values, and which form of G this is.
    """

    def __init__(self, width: int = 48, blocks: int = 6, factor: int = 4, reparameterised: bool = False) -> None:
        super().__init__()
        self.settings = {
            "arch": "light",
            "width": width,
            "blocks": blocks,
            "factor": factor,
            "reparameterised": reparameterised,
        }
        self.factor = factor
        pixels = 3 * factor * factor
        self.head = nn.Conv2d(pixels, width, 3, padding=1)
        self.body = nn.Sequential(*(LightBlock(width, reparameterised) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, pixels, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.factor

    def forward(self, x_l: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            x_l: N×3×H×W, the LR picture already resized to the target size.

        Returns:
            N×3×H×W.
        """
        x = self.head(F.pixel_unshuffle(x_l, self.factor))
        x = self.tail(self.body(x))
        return x_l + F.pixel_shuffle(x, self.factor)
