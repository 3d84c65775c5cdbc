"""OSNet, the identity critic C, with torchreid's parameter names.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OSNET_WIDTHS: dict[str, tuple[int, int, int, int]] = {
    "osnet_x1_0": (64, 256, 384, 512),
    "osnet_x0_75": (48, 192, 288, 384),
    "osnet_x0_5": (32, 128, 192, 256),
    "osnet_x0_25": (16, 64, 96, 128),
}
"""Channels of conv1, conv2, conv3 and conv4/conv5 per variant."""

FEATURE_DIM = 512
"""Dimension of f_c, the same for every variant."""

_BOTTLENECK_REDUCTION = 4
_GATE_REDUCTION = 16
_STREAM_DEPTHS = {"conv2a": 1, "conv2b": 2, "conv2c": 3, "conv2d": 4}


class ConvBN(nn.Module):
    """Convolution without bias and batch normalisation; ReLU unless ``activation`` is false."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, activation: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H'×W'."""
        x = self.bn(self.conv(x))
        return torch.relu(x) if self.activation else x


class LightConv3x3(nn.Module):
    """Pointwise then depthwise 3×3 convolution, batch normalisation, ReLU (OSNet's Fig. 3b)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H×W."""
        return torch.relu(self.bn(self.conv2(self.conv1(x))))


class ChannelGate(nn.Module):
    """The unified aggregation gate: channel weights in (0, 1) from global context."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _GATE_REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // _GATE_REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh N×C×H×W by its own N×C×1×1 gate."""
        weights = torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(weights))


class OSBlock(nn.Module):
    """Omni-scale residual block: four streams of growing receptive field, gated and summed."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        mid = out_channels // _BOTTLENECK_REDUCTION
        self.conv1 = ConvBN(in_channels, mid, 1)
        for name, depth in _STREAM_DEPTHS.items():
            layers = [LightConv3x3(mid, mid) for _ in range(depth)]
            # torchreid's first stream is a bare LightConv3x3, so its parameter names carry no index
            self.add_module(name, layers[0] if depth == 1 else nn.Sequential(*layers))
        self.gate = ChannelGate(mid)
        self.conv3 = ConvBN(mid, out_channels, 1, activation=False)
        self.downsample = (
            ConvBN(in_channels, out_channels, 1, activation=False) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H×W."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        streams = [self.gate(self.get_submodule(name)(x)) for name in _STREAM_DEPTHS]
        return torch.relu(self.conv3(sum(streams[1:], streams[0])) + shortcut)


def _stage(in_channels: int, out_channels: int, reduce: bool) -> nn.Sequential:
    layers: list[nn.Module] = [OSBlock(in_channels, out_channels), OSBlock(out_channels, out_channels)]
    if reduce:
        layers.append(nn.Sequential(ConvBN(out_channels, out_channels, 1), nn.AvgPool2d(2, stride=2)))
    return nn.Sequential(*layers)


class OSNet(nn.Module):
    """OSNet with the classifier of the identity loss (Eq. 3).

    Args:
        widths: Channels of conv1, conv2, conv3 and conv4/conv5.
        num_classes: Number of training identities.
        enlarge: Pictures are enlarged this many times first, bilinearly: a C of one input size behind a G of a
            smaller one.
    """

    feature_dim = FEATURE_DIM

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int, enlarge: int = 1) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.conv1 = ConvBN(3, widths[0], 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(widths[0], widths[1], reduce=True)
        self.conv3 = _stage(widths[1], widths[2], reduce=True)
        self.conv4 = _stage(widths[2], widths[3], reduce=False)
        self.conv5 = ConvBN(widths[3], widths[3], 1)
        self.fc = nn.Sequential(nn.Linear(widths[3], FEATURE_DIM), nn.BatchNorm1d(FEATURE_DIM), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(FEATURE_DIM, num_classes)
        self.apply(_initialise)

    @property
    def num_classes(self) -> int:
        """Number of identities that the classifier tells apart."""
        return self.classifier.out_features

    def embed(self, images: Tensor) -> Tensor:
        """Compute f_c.

        Args:
            images: N×3×H×W, ImageNet-normalised.

        Returns:
            N×512, after FC, batch normalisation and ReLU.
        """
        if self.enlarge != 1:
            size = (images.shape[-2] * self.enlarge, images.shape[-1] * self.enlarge)
            images = F.interpolate(images, size, mode="bilinear")
        x = self.maxpool(self.conv1(images))
        x = self.conv5(self.conv4(self.conv3(self.conv2(x))))
        return self.fc(x.mean(dim=(2, 3)))

    def classify(self, features: Tensor) -> Tensor:
        """Map f_c (N×512) to identity logits (N×num_classes).

        A method of its own because ``forward`` in eval mode stops at f_c, while the identity
        loss needs the logits of a frozen critic.
        """
        return self.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits in training mode and f_c in eval mode, as torchreid's model does."""
        features = self.embed(images)
        return self.classify(features) if self.training else features


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def build_osnet(name: str, num_classes: int, enlarge: int = 1) -> OSNet:
    """Build one of the four published widths.

    Args:
        name: A key of ``OSNET_WIDTHS``.
        num_classes: Number of training identities.
        enlarge: How many times pictures are enlarged first.
    """
    return OSNet(OSNET_WIDTHS[name], num_classes, enlarge)


def arch_of(state: OrderedDict[str, Tensor] | dict[str, Tensor]) -> str | None:
    """Name the variant that a state dict belongs to, from conv1's width; None if it is none of them."""
    weight = state.get("conv1.conv.weight")
    if weight is None:
        return None
    return next((name for name, widths in OSNET_WIDTHS.items() if widths[0] == weight.shape[0]), None)
