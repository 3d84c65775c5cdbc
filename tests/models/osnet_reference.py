"""OSNet written a second time, from its description: torchreid's names and shapes, and the features of a state dict."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]

INSIDE = {
    "plain": {},
    # after the sum of both blocks of conv2
    "ibn": {"conv2.0": "sum", "conv2.1": "sum"},
    # at the end of the residual of these four blocks, instead of batch normalisation
    "ain": {"conv2.0": "residual", "conv2.1": "residual", "conv3.1": "residual", "conv4.0": "residual"},
}
STREAMS = "abcd"


def names_and_shapes(family: str, widths: tuple[int, int, int, int], classes: int) -> dict[str, Shape]:
    """Every entry of the state dict that torchreid writes, in its order."""
    return dict(_entries(family, widths, classes))


def _entries(family: str, widths: tuple[int, int, int, int], classes: int) -> Iterator[tuple[str, Shape]]:
    yield "conv1.conv.weight", (widths[0], 3, 7, 7)
    yield from (_batch_norm if family == "plain" else _instance_norm)("conv1.bn", widths[0])
    for stage in (2, 3, 4):
        inside, outside = widths[stage - 2], widths[stage - 1]
        yield from _block(family, f"conv{stage}.0", inside, outside)
        yield from _block(family, f"conv{stage}.1", outside, outside)
        if stage < 4:
            pool = f"pool{stage}.0" if family == "ain" else f"conv{stage}.2.0"
            yield from _conv_norm(pool, outside, outside)
    yield from _conv_norm("conv5", widths[3], widths[3])
    yield "fc.0.weight", (512, widths[3])
    yield "fc.0.bias", (512,)
    yield from _batch_norm("fc.1", 512)
    yield "classifier.weight", (classes, 512)
    yield "classifier.bias", (classes,)


def _block(family: str, block: str, inside: int, outside: int) -> Iterator[tuple[str, Shape]]:
    middle = outside // 4
    place = INSIDE[family].get(block)
    yield from _conv_norm(f"{block}.conv1", inside, middle)
    for number in range(4):
        for depth in range(number + 1):
            layer = _layer(family, block, number, depth)
            yield f"{layer}.conv1.weight", (middle, middle, 1, 1)
            yield f"{layer}.conv2.weight", (middle, 1, 3, 3)
            yield from _batch_norm(f"{layer}.bn", middle)
    for name, sizes in (("fc1", (middle, middle // 16)), ("fc2", (middle // 16, middle))):
        yield f"{block}.gate.{name}.weight", (sizes[1], sizes[0], 1, 1)
        yield f"{block}.gate.{name}.bias", (sizes[1],)
    yield f"{block}.conv3.conv.weight", (outside, middle, 1, 1)
    if place != "residual":
        yield from _batch_norm(f"{block}.conv3.bn", outside)
    if inside != outside:
        yield from _conv_norm(f"{block}.downsample", inside, outside)
    if place is not None:
        yield from _instance_norm(f"{block}.IN", outside)


def _layer(family: str, block: str, number: int, depth: int) -> str:
    if family == "ain":
        return f"{block}.conv2.{number}.layers.{depth}"
    return f"{block}.conv2{STREAMS[number]}" + (f".{depth}" if number else "")


def _conv_norm(name: str, inside: int, outside: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.conv.weight", (outside, inside, 1, 1)
    yield from _batch_norm(f"{name}.bn", outside)


def _batch_norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    yield from _instance_norm(name, channels)
    yield f"{name}.running_mean", (channels,)
    yield f"{name}.running_var", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _instance_norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)


def random_state(shapes: dict[str, Shape], seed: int = 0) -> dict[str, Tensor]:
    """Draw weights for which no layer is idle."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn.weight", "IN.weight", "fc.1.weight")):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan = max(1, torch.tensor(shape[1:]).prod().item())
            state[name] = torch.randn(shape, generator=generator) / fan**0.5
    return state


def features(family: str, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """f_c of pictures N×3×H×W, layer by layer."""

    def norm(name: str, x: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if f"{name}.running_mean" in state:
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            shape = (1, -1, *[1] * (x.ndim - 2))
            mean, var = mean.view(shape), var.view(shape)
        else:
            mean = x.mean(dim=(2, 3), keepdim=True)
            var = ((x - mean) ** 2).mean(dim=(2, 3), keepdim=True)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - mean) / (var + 1e-5).sqrt() * weight.view(shape) + bias.view(shape)

    def conv_norm(name: str, x: Tensor, **options: int) -> Tensor:
        return norm(f"{name}.bn", F.conv2d(x, state[f"{name}.conv.weight"], **options))

    def gate(name: str, x: Tensor) -> Tensor:
        context = x.mean(dim=(2, 3), keepdim=True)
        context = F.relu(F.conv2d(context, state[f"{name}.fc1.weight"], state[f"{name}.fc1.bias"]))
        return x * torch.sigmoid(F.conv2d(context, state[f"{name}.fc2.weight"], state[f"{name}.fc2.bias"]))

    def block(name: str, x: Tensor) -> Tensor:
        place = INSIDE[family].get(name)
        middle = F.relu(conv_norm(f"{name}.conv1", x))
        total = torch.zeros(())
        for number in range(4):
            stream = middle
            for depth in range(number + 1):
                layer = _layer(family, name, number, depth)
                stream = F.conv2d(stream, state[f"{layer}.conv1.weight"])
                stream = F.conv2d(stream, state[f"{layer}.conv2.weight"], padding=1, groups=stream.shape[1])
                stream = F.relu(norm(f"{layer}.bn", stream))
            total = total + gate(f"{name}.gate", stream)
        residual = F.conv2d(total, state[f"{name}.conv3.conv.weight"])
        residual = norm(f"{name}.IN" if place == "residual" else f"{name}.conv3.bn", residual)
        shortcut = conv_norm(f"{name}.downsample", x) if f"{name}.downsample.conv.weight" in state else x
        both = residual + shortcut
        return F.relu(norm(f"{name}.IN", both) if place == "sum" else both)

    x = F.relu(conv_norm("conv1", x, stride=2, padding=3))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (2, 3, 4):
        x = block(f"conv{stage}.1", block(f"conv{stage}.0", x))
        if stage < 4:
            pool = f"pool{stage}.0" if family == "ain" else f"conv{stage}.2.0"
            x = F.avg_pool2d(F.relu(conv_norm(pool, x)), 2)
    x = F.relu(conv_norm("conv5", x)).mean(dim=(2, 3))
    return F.relu(norm("fc.1", F.linear(x, state["fc.0.weight"], state["fc.0.bias"])))
