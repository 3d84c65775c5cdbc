"""OSNet, the identity critic C, with torchreid's parameter names.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019; with instance
normalisation (IBN, AIN): Learning Generalisable Omni-Scale Representations for Person Re-Identification, TPAMI 2021.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intact_fast.models.fused import Fusable, depthwise_norm_relu

Widths = tuple[int, int, int, int]
"""Channels of conv1, conv2, conv3 and conv4/conv5."""

Family = Literal["plain", "ibn", "ain"]
"""Where instance normalisation stands: nowhere; at conv1 and in the blocks of conv2 (IBN); where a search put it (AIN).
"""

InstanceNormPlace = Literal["none", "sum", "residual"]
"""Where a block has instance normalisation: nowhere; after the sum with its shortcut, before the ReLU (IBN); at the end
of its residual, in place of the batch normalisation there (AIN)."""


class Variant(NamedTuple):
    """One of the published networks."""

    widths: Widths
    family: Family


_WIDTHS: dict[str, Widths] = {
    "x1_0": (64, 256, 384, 512),
    "x0_75": (48, 192, 288, 384),
    "x0_5": (32, 128, 192, 256),
    "x0_25": (16, 64, 96, 128),
}

OSNET_VARIANTS: dict[str, Variant] = {
    **{f"osnet_{name}": Variant(widths, "plain") for name, widths in _WIDTHS.items()},
    "osnet_ibn_x1_0": Variant(_WIDTHS["x1_0"], "ibn"),
    **{f"osnet_ain_{name}": Variant(widths, "ain") for name, widths in _WIDTHS.items()},
}
"""torchreid's names."""

_PLACES: dict[Family, tuple[tuple[InstanceNormPlace, InstanceNormPlace], ...]] = {
    "plain": (("none", "none"), ("none", "none"), ("none", "none")),
    "ibn": (("sum", "sum"), ("none", "none"), ("none", "none")),
    "ain": (("residual", "residual"), ("none", "residual"), ("residual", "none")),
}
"""Of the two blocks of conv2, conv3 and conv4."""

CLASSIFIER = "classifier."
"""What the names of the classifier's parameters begin with."""

FEATURE_DIM = 512
"""Dimension of f_c, the same for every variant."""

_BOTTLENECK_REDUCTION = 4
_GATE_REDUCTION = 16
_LAST_STAGE = 4
_STREAM_DEPTHS = {"conv2a": 1, "conv2b": 2, "conv2c": 3, "conv2d": 4}


class ConvBN(nn.Module):
    """Convolution without bias and a normalisation (of the batch by default); ReLU unless ``activation`` is false."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        activation: bool = True,
        norm: Literal["batch", "instance", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        self.bn = _norm(norm, out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H'×W'."""
        x = self.bn(self.conv(x))
        return torch.relu(x) if self.activation else x


def _norm(kind: Literal["batch", "instance", "none"], channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


class LightConv3x3(Fusable):
    """Pointwise then depthwise 3×3 convolution, batch normalisation, ReLU (OSNet's Fig. 3b)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H×W."""
        return depthwise_norm_relu(self.conv2, self.bn, self.conv1(x), self.kernels)


class ConvStream(nn.Module):
    """A stream of AIN's blocks, whose names are others than the plain blocks'."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(LightConv3x3(channels, channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        return self.layers(x)


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
    """Omni-scale residual block: four streams of growing receptive field, gated and summed.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        family: Names the streams as torchreid does in this family.
        place: Where instance normalisation stands.
    """

    def __init__(self, in_channels: int, out_channels: int, family: Family, place: InstanceNormPlace) -> None:
        super().__init__()
        mid = out_channels // _BOTTLENECK_REDUCTION
        self.place = place
        self.conv1 = ConvBN(in_channels, mid, 1)
        self.stream_names = tuple(_STREAM_DEPTHS)
        if family == "ain":
            self.conv2 = nn.ModuleList(ConvStream(mid, depth) for depth in _STREAM_DEPTHS.values())
            self.stream_names = tuple(f"conv2.{number}" for number in range(len(self.conv2)))
        else:
            for name, depth in _STREAM_DEPTHS.items():
                layers = [LightConv3x3(mid, mid) for _ in range(depth)]
                # torchreid's first stream is a bare LightConv3x3, so its parameter names carry no index
                self.add_module(name, layers[0] if depth == 1 else nn.Sequential(*layers))
        self.gate = ChannelGate(mid)
        norm: Literal["none", "batch"] = "none" if place == "residual" else "batch"
        self.conv3 = ConvBN(mid, out_channels, 1, activation=False, norm=norm)
        self.downsample = (
            ConvBN(in_channels, out_channels, 1, activation=False) if in_channels != out_channels else None
        )
        # torchreid's name
        self.IN = None if place == "none" else nn.InstanceNorm2d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W to N×C_out×H×W."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        streams = [self.gate(self.get_submodule(name)(x)) for name in self.stream_names]
        x = self.conv3(sum(streams[1:], streams[0]))
        if self.IN is None:
            return torch.relu(x + shortcut)
        return torch.relu(self.IN(x + shortcut) if self.place == "sum" else self.IN(x) + shortcut)


def _transition(channels: int) -> nn.Sequential:
    """Halve height and width."""
    return nn.Sequential(ConvBN(channels, channels, 1), nn.AvgPool2d(2, stride=2))


class OSNet(nn.Module):
    """OSNet with the classifier of the identity loss (Eq. 3).

    Args:
        name: A key of ``OSNET_VARIANTS``.
        num_classes: Number of training identities; 0 of a network that gives features alone.
        enlarge: Pictures are enlarged this many times first, bilinearly: a C of one input size behind a G of a
            smaller one.

    Attributes:
        name: Its variant.
        num_classes: Number of identities that its classifier tells apart; of 0 there is none.
        feature_dim: 512.
    """

    feature_dim = FEATURE_DIM

    def __init__(self, name: str, num_classes: int, enlarge: int = 1) -> None:
        super().__init__()
        widths, family = OSNET_VARIANTS[name]
        self.name = name
        self.enlarge = enlarge
        self.conv1 = ConvBN(3, widths[0], 7, stride=2, norm="batch" if family == "plain" else "instance")
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.trunk = ["conv1", "maxpool"]
        for number, (channels, places) in enumerate(zip(itertools.pairwise(widths), _PLACES[family], strict=True), 2):
            self._add_stage(number, *channels, family, places)
        self.conv5 = ConvBN(widths[3], widths[3], 1)
        self.trunk.append("conv5")
        self.fc = nn.Sequential(nn.Linear(widths[3], FEATURE_DIM), nn.BatchNorm1d(FEATURE_DIM), nn.ReLU(inplace=True))
        self.num_classes = num_classes
        self.classifier: nn.Module = nn.Linear(FEATURE_DIM, num_classes) if num_classes else nn.Identity()
        self.apply(_initialise)

    def _add_stage(
        self, number: int, inside: int, outside: int, family: Family, places: tuple[InstanceNormPlace, ...]
    ) -> None:
        """Add two blocks and, but for the last stage, what halves height and width after them."""
        blocks: list[nn.Module] = []
        for place in places:
            blocks.append(OSBlock(outside if blocks else inside, outside, family, place))
        halves = number < _LAST_STAGE
        if halves and family != "ain":
            blocks.append(_transition(outside))
        self.add_module(f"conv{number}", nn.Sequential(*blocks))
        self.trunk.append(f"conv{number}")
        # AIN's stands beside the blocks
        if halves and family == "ain":
            self.add_module(f"pool{number}", _transition(outside))
            self.trunk.append(f"pool{number}")

    def embed(self, images: Tensor) -> Tensor:
        """Compute f_c.

        Args:
            images: N×3×H×W, ImageNet-normalised.

        Returns:
            N×512, after FC, batch normalisation and ReLU.
        """
        return self.embed_map(self.feature_map(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the last feature map (N×C×H/16×W/16) of pictures (N×3×H×W), before it is averaged over positions."""
        if self.enlarge != 1:
            size = (images.shape[-2] * self.enlarge, images.shape[-1] * self.enlarge)
            images = F.interpolate(images, size, mode="bilinear")
        x = images
        for name in self.trunk:
            x = self.get_submodule(name)(x)
        return x

    def embed_map(self, feature_map: Tensor) -> Tensor:
        """Compute f_c (N×512) from the last feature map (N×C×H'×W')."""
        return self.fc(feature_map.mean(dim=(2, 3)))

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
    """Build one of the published networks.

    Args:
        name: A key of ``OSNET_VARIANTS``.
        num_classes: Number of training identities; 0 of a network that gives features alone.
        enlarge: How many times pictures are enlarged first.
    """
    return OSNet(name, num_classes, enlarge)


def arch_of(state: Mapping[str, Tensor]) -> str | None:
    """Name the variant that a state dict belongs to, by its names and conv1's width; None if it is none of them."""
    weight = state.get("conv1.conv.weight")
    if weight is None or weight.ndim == 0:
        return None
    found = family_of(state), weight.shape[0]
    return next((name for name, (widths, family) in OSNET_VARIANTS.items() if (family, widths[0]) == found), None)


def family_of(state: Mapping[str, Tensor]) -> Family:
    """Tell the families apart by the names of their parameters."""
    if "conv2.0.conv2.0.layers.0.conv1.weight" in state:
        return "ain"
    return "ibn" if "conv2.0.IN.weight" in state else "plain"


def first_widths() -> list[int]:
    """Channels of conv1 in the published networks, from the narrowest."""
    return sorted({variant.widths[0] for variant in OSNET_VARIANTS.values()})
