"""Bias, activation, 2× pixel shuffle and an optional skip tensor on a channels-last convolution output.

The operator reads once and writes once (and reads the skip tensor), where the plain expression takes a pass for each
part.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import activate, check_activation
from intact_fast.kernels.checks import check_tensor, check_vector
from intact_fast.kernels.launch import empty
from intact_fast.kernels.pictures import with_summand
from intact_fast.kernels.pixel_shuffle_kernels import backward_triton, forward_triton
from intact_fast.kernels.pixel_shuffle_plain import backward_cpu, forward_cpu
from intact_fast.kernels.registration import accumulation_type, register

ShuffleActivation = Literal["none", "relu", "leaky_relu", "prelu"]
_ACTIVATIONS: tuple[str, ...] = get_args(ShuffleActivation)


def _forward_fake(x: Tensor, *options: Any) -> Tensor:
    n, four_c, height, width = x.shape
    return empty(n, four_c // 4, 2 * height, 2 * width, like=x, channels_last=True)


def _backward_fake(
    grad: Tensor,
    saved: Tensor | None,
    from_output: bool,
    bias: Tensor | None,
    slope: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    needs_bias = options[-1]
    n, channels, height, width = grad.shape
    dtype = accumulation_type(grad.dtype)
    return (
        empty(n, 4 * channels, height // 2, width // 2, like=grad, channels_last=True),
        empty(4 * channels if needs_bias else 0, like=grad, dtype=dtype),
        empty(0 if slope is None else slope.numel(), like=grad, dtype=dtype),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bias, slope, skip, ctx.activation, ctx.negative_slope = inputs
    # without a skip tensor the output, which lives on as the next layer's input, has the sign that is needed
    ctx.from_output = skip is None and (
        ctx.activation == "relu" or (ctx.activation == "leaky_relu" and ctx.negative_slope >= 0)
    )
    saved = None if ctx.activation == "none" else output if ctx.from_output else x
    ctx.save_for_backward(saved, bias, slope)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved, bias, slope = ctx.saved_tensors
    wants_bias = bias is not None and ctx.needs_input_grad[1]
    grad_x, grad_bias, grad_slope = _backward_operator(
        grad, saved, ctx.from_output, bias, slope, ctx.activation, ctx.negative_slope, wants_bias
    )
    return (
        grad_x,
        grad_bias.to(bias.dtype) if wants_bias else None,
        None if slope is None else grad_slope.to(slope.dtype),
        grad if ctx.needs_input_grad[3] else None,
        None,
        None,
    )


_backward_operator = register(
    "pixel_shuffle_act_backward",
    "(Tensor grad, Tensor? saved, bool from_output, Tensor? bias, Tensor? slope, str activation, "
    "float negative_slope, bool needs_bias) -> (Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "pixel_shuffle_act",
    "(Tensor x, Tensor? bias, Tensor? slope, Tensor? skip, str activation, float negative_slope) -> Tensor",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


def pixel_shuffle_act(
    x: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    *,
    activation: ShuffleActivation = "relu",
    slope: Tensor | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """``pixel_shuffle(f(x + bias), 2) + skip`` in one pass, computed in float32 and rounded once.

    Args:
        x: N×4C×H×W, channels-last, of a convolution without bias; float32, bfloat16 or float16 (on the CPU
            float64, too).
        bias: 4C, the convolution's bias.
        skip: N×C×2H×2W, channels-last.
        activation: f; ``prelu`` needs ``slope``.
        slope: PReLU's weight: 1 or 4C values.
        negative_slope: LeakyReLU's.

    Returns:
        N×C×2H×2W, channels-last.

    Raises:
        ValueError: A shape, layout, device or activation that does not fit.
        TypeError: A dtype that is not supported.
    """
    check_activation(activation, _ACTIVATIONS)
    check_tensor("x", x, dims=4, channels_last=True)
    n, four_c, height, width = x.shape
    if four_c % 4:
        raise ValueError(f"x must have a multiple of 4 channels, not {four_c}")
    check_vector("bias", bias, (four_c,), x)
    check_vector("slope", slope, (1, four_c), x)
    if (activation == "prelu") != (slope is not None):
        raise ValueError("slope belongs to activation 'prelu', which needs it")
    x, skip = with_summand("skip", x, skip, (n, four_c // 4, 2 * height, 2 * width))
    result: Tensor = _operator(x, bias, slope, skip, activation, negative_slope)
    return result


def pixel_shuffle_act_reference(
    x: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    *,
    activation: ShuffleActivation = "relu",
    slope: Tensor | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """The same as `pixel_shuffle_act` in PyTorch's own operators."""
    if bias is not None:
        x = x + bias[None, :, None, None].to(x.dtype)
    x = F.prelu(x, slope.to(x.dtype)) if slope is not None else activate(x, activation, negative_slope)
    x = F.pixel_shuffle(x, 2)
    return x if skip is None else x + skip
