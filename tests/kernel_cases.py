"""Random inputs of the fused operators, and how their error is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from intact_fast import kernels
from intact_fast.kernels import LinearBN

# Triton's interpreter takes seconds for the channels that a GPU takes at once; both are several blocks
_WIDE = 1024 if torch.cuda.is_available() else 264

PICTURES = [(2, 64, 6, 5), (1, 3, 7, 3), (3, 5, 1, 2), (2, 1, 4, 4), (1, _WIDE, 2, 3), (2, 70, 9, 4)]
"""N, C, H, W: tile-sized, and odd ones."""

LAYERS = [(3, 5, 3), (32, 48, 40), (17, 33, 70), (64, 20, 16)]
"""Batch, inputs, outputs."""

Inputs = dict[str, Tensor | None]


@dataclass(frozen=True)
class Case:
    """One call of a fused operator.

    Attributes:
        fused: The operator on inputs.
        reference: The same in PyTorch's operators.
        inputs: Float32 tensors; those that need a gradient say so.
    """

    fused: Callable[[Inputs], Tensor]
    reference: Callable[[Inputs], Tensor]
    inputs: Inputs


def pictures(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()


def vector(size: int, *, grad: bool = True) -> Tensor:
    return torch.randn(size).requires_grad_(grad)


def pixel_shuffle_case(shape: tuple[int, ...], activation: str, skip: bool, bias: bool = True, slopes: int = 0) -> Case:
    n, c, h, w = shape
    inputs: Inputs = {
        "x": pictures(n, 4 * c, h, w),
        "bias": vector(4 * c) if bias else None,
        "skip": pictures(n, c, 2 * h, 2 * w) if skip else None,
        "slope": vector(4 * c if slopes > 1 else 1) if slopes else None,
    }
    options = {"activation": activation, "negative_slope": 0.2}
    return Case(
        lambda i: kernels.pixel_shuffle_act(**i, **options),
        lambda i: kernels.pixel_shuffle_act_reference(**i, **options),
        inputs,
    )


def batch_norm_case(
    shape: tuple[int, ...], activation: str, residual: bool, training: bool = True, affine: bool = True
) -> Case:
    channels = shape[1]
    inputs: Inputs = {
        "x": pictures(*shape),
        "weight": vector(channels) if affine else None,
        "bias": vector(channels) if affine else None,
        "running_mean": vector(channels, grad=False),
        "running_var": torch.rand(channels) + 0.5,
        "residual": pictures(*shape) if residual else None,
    }
    options = {"activation": activation, "training": training, "negative_slope": 0.2}
    return Case(
        lambda i: kernels.batch_norm_act(**i, **options),
        lambda i: kernels.batch_norm_act_reference(**i, **options),
        inputs,
    )


def depthwise_case(shape: tuple[int, ...], activation: str, affine: bool = True, trained: bool = True) -> Case:
    channels = shape[1]
    inputs: Inputs = {
        "x": pictures(*shape),
        "filters": torch.randn(channels, 1, 3, 3).requires_grad_(trained),
        "running_mean": vector(channels, grad=False),
        "running_var": torch.rand(channels) + 0.5,
        "weight": vector(channels, grad=trained) if affine else None,
        "bias": vector(channels, grad=trained) if affine else None,
    }
    options = {"activation": activation, "negative_slope": 0.2}
    return Case(
        lambda i: kernels.depthwise_norm_act(**i, **options),
        lambda i: kernels.depthwise_norm_act_reference(**i, **options),
        inputs,
    )


def layer_inputs(batch: int, width: int, outputs: int, affine: bool) -> Inputs:
    return {
        "x": torch.randn(batch, width).requires_grad_(),
        "weight": (torch.randn(outputs, width) / width**0.5).requires_grad_(),
        "gamma": vector(outputs) if affine else None,
        "beta": vector(outputs) if affine else None,
        "running_mean": vector(outputs, grad=False),
        "running_var": torch.rand(outputs) + 0.5,
    }


def layer_of(i: Inputs) -> LinearBN:
    return LinearBN(i["weight"], i["gamma"], i["beta"], i["running_mean"], i["running_var"])


def linear_case(
    batch: int, width: int, outputs: int, activation: str, training: bool = True, affine: bool = True
) -> Case:
    options = {"activation": activation, "training": training}
    return Case(
        lambda i: kernels.linear_bn_act(i["x"], layer_of(i), **options),
        lambda i: kernels.linear_bn_act_reference(i["x"], layer_of(i), **options),
        layer_inputs(batch, width, outputs, affine),
    )


def mse_case(batch: int, width: int, outputs: int, training: bool = True, affine: bool = True) -> Case:
    inputs = layer_inputs(batch, width, outputs, affine)
    inputs["target"] = torch.randn(batch, outputs).requires_grad_()

    def fused(i: Inputs) -> Tensor:
        layer = layer_of(i)
        loss, statistics = kernels.linear_bn_mse(i["x"], layer, i["target"], training=training)
        if training:
            kernels.update_layers([layer], [statistics])
        return loss

    def reference(i: Inputs) -> Tensor:
        return kernels.linear_bn_mse_reference(i["x"], layer_of(i), i["target"], training=training)

    return Case(fused, reference, inputs)


def results(
    function: Callable[[Inputs], Tensor],
    inputs: Inputs,
    dtype: torch.dtype,
    device: torch.device,
    rounded_to: torch.dtype,
) -> dict[str, Tensor]:
    """Output, gradients and running statistics in float64, computed with inputs in ``dtype``.

    The gradient that comes in is rounded to ``rounded_to`` whatever ``dtype`` is. What is a vector in a network stays
    float32 beside pictures in 16 bits, as under autocast.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    placed: Inputs = {}
    for name, value in inputs.items():
        if value is None:
            placed[name] = None
            continue
        kind = dtype if name in ("x", "skip", "residual") else wide
        if name == "weight" and value.ndim == 2:
            kind = dtype
        placed[name] = value.detach().to(device, kind, copy=True).requires_grad_(value.requires_grad)
    out = function(placed)
    torch.manual_seed(1)
    out.backward(torch.randn(out.shape).to(rounded_to).to(device, out.dtype))
    found = {"output": out.detach(), **{k: v for k, v in placed.items() if k.startswith("running")}}
    found |= {f"gradient of {k}": v.grad for k, v in placed.items() if v is not None and v.requires_grad}
    return {name: value.double().cpu() for name, value in found.items() if value is not None}


def check(case: Case, dtype: torch.dtype, device: torch.device) -> None:
    """Assert that the operator is at most twice as far from float64 as PyTorch's own operators at that precision.

    Where those happen to be nearer than their type's resolution, one unit in the last place of the largest value is
    allowed. In float32, whose errors are those of sums with cancellation, eight are.
    """
    rounded = {
        k: v.detach().to(dtype).float().requires_grad_(v.requires_grad)
        if v is not None and k != "target" and v.ndim > 1
        else v
        for k, v in case.inputs.items()
    }
    exact = results(case.reference, rounded, torch.float64, torch.device("cpu"), dtype)
    plain = results(case.reference, rounded, dtype, device, dtype)
    fused = results(case.fused, rounded, dtype, device, dtype)
    assert fused.keys() == exact.keys()
    for name, truth in exact.items():
        narrow = dtype if truth.ndim > 1 else torch.float32
        units = 8 if narrow == torch.float32 else 1
        allowed = 2 * (plain[name] - truth).abs().max() + units * torch.finfo(narrow).eps * truth.abs().max()
        error = (fused[name] - truth).abs().max()
        assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"
