"""Depthwise 3×3 convolution, batch normalisation by running statistics, and activation on channels-last tensors.

OSNet's light convolutions end in these three (Zhou et al., ICCV 2019, Fig. 3b), and C and C_q keep their running
statistics while G is trained. The plain expression writes and reads a tensor between each two of them, forward and
backward. Here each is part of one pass.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import ACTIVATIONS, Activation, activate, check_activation
from intact_fast.kernels.checks import check_beside, check_tensor, check_vector
from intact_fast.kernels.depthwise_kernels import backward_triton, empty_gradients, forward_triton
from intact_fast.kernels.depthwise_plain import backward_cpu, forward_cpu
from intact_fast.kernels.pictures import picture_like
from intact_fast.kernels.registration import register


def _forward_fake(x: Tensor, *options: Any) -> Tensor:
    return picture_like(x)


def _backward_fake(grad: Tensor, x: Tensor | None, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return picture_like(grad), *empty_gradients(grad, x is not None)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filters, weight, bias, running_mean, running_var, *ctx.options = inputs
    ctx.types = [None if tensor is None else tensor.dtype for tensor in (filters, weight, bias)]
    # a frozen network needs its input no more; the output lives on as the next layer's input and has the sign
    kept = x if any(ctx.needs_input_grad[1:4]) else None
    _, activation, _ = ctx.options
    ctx.save_for_backward(kept, None if activation == "none" else output, filters, weight, running_mean, running_var)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, *gradients = _backward_operator(grad, *ctx.saved_tensors, *ctx.options)
    wanted = zip(gradients, ctx.types, ctx.needs_input_grad[1:4], strict=True)
    return grad_x, *(gradient.to(dtype) if asked else None for gradient, dtype, asked in wanted), *([None] * 5)


_backward_operator = register(
    "depthwise_norm_act_backward",
    "(Tensor grad, Tensor? x, Tensor? out, Tensor filters, Tensor? weight, Tensor running_mean, Tensor running_var, "
    "float eps, str activation, float slope) -> (Tensor, Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "depthwise_norm_act",
    "(Tensor x, Tensor filters, Tensor? weight, Tensor? bias, Tensor running_mean, Tensor running_var, float eps, "
    "str activation, float slope) -> Tensor",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


def depthwise_norm_act(
    x: Tensor,
    filters: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = "none",
    negative_slope: float = 0.01,
) -> Tensor:
    """``f(batch_norm(conv(x)))`` of a depthwise convolution in eval mode, computed in float32 and rounded once.

    Args:
        x: N×C×H×W, channels-last; float32, bfloat16 or float16 (on the CPU float64, too).
        filters: C×1×3×3, of a convolution of stride 1 and padding 1 without bias.
        running_mean: C values, constants.
        running_var: C values, constants.
        weight: γ, C values, or None for 1.
        bias: β, C values, or None for 0.
        eps: Added to the variance.
        activation: f.
        negative_slope: LeakyReLU's, not negative.

    Returns:
        N×C×H×W, channels-last, of x's dtype.

    Raises:
        ValueError: A shape, layout, device or activation that does not fit.
        TypeError: A dtype that is not supported.
    """
    check_activation(activation, ACTIVATIONS)
    check_tensor("x", x, dims=4, channels_last=True)
    channels = x.shape[1]
    check_tensor("filters", filters, dims=4)
    check_beside("filters", filters, (channels, 1, 3, 3), x)
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, vector in vectors.items():
        check_vector(name, vector, (channels,), x)
    if negative_slope < 0:
        raise ValueError(f"negative_slope must not be negative: {negative_slope}")
    result: Tensor = _operator(
        x, filters.contiguous(), weight, bias, running_mean, running_var, eps, activation, negative_slope
    )
    return result


def depthwise_norm_act_reference(
    x: Tensor,
    filters: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = "none",
    negative_slope: float = 0.01,
) -> Tensor:
    """The same as `depthwise_norm_act` in PyTorch's own operators."""
    z = F.conv2d(x, filters.to(x.dtype), padding=1, groups=x.shape[1])
    y = F.batch_norm(z, running_mean, running_var, weight, bias, training=False, eps=eps)
    return activate(y, activation, negative_slope)
