"""Batch normalisation, activation and an optional residual sum on channels-last tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import (
    ACTIVATIONS,
    Activation,
    activate,
    activate_backward,
    check_activation,
)
from intact_fast.kernels.batch_norm_kernels import (
    backward_triton,
    forward_triton,
    picture_like,
    positions_of,
    statistics_like,
)
from intact_fast.kernels.choice import check_tensor, check_vector
from intact_fast.kernels.launch import empty
from intact_fast.kernels.registration import accumulation_type, register
from intact_fast.kernels.running_statistics import running_variance, update_running_statistics


def _as_column(vector: Tensor | None, default: float, x: Tensor) -> Tensor | float:
    return default if vector is None else vector.to(accumulation_type(x.dtype))[None, :, None, None]


def forward_cpu(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the forward pass in PyTorch, rounding once as the kernels do."""
    dtype = accumulation_type(x.dtype)
    wide = x.to(dtype)
    mean, scale, variance = statistics_like(x, training)
    if training:
        biased, average = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        mean.copy_(average)
        scale.copy_(torch.rsqrt(biased + eps))
        variance.copy_(running_variance(biased, positions_of(x)))
        used_mean, used_scale = mean, scale
    else:
        assert running_mean is not None
        assert running_var is not None
        used_mean, used_scale = running_mean, torch.rsqrt(running_var.to(dtype) + eps)
    factor = _as_column(used_scale, 1.0, x) * _as_column(weight, 1.0, x)
    y = (wide - _as_column(used_mean, 0.0, x)) * factor + _as_column(bias, 0.0, x)
    if residual is not None:
        y = y + residual
    return picture_like(x).copy_(activate(y, activation, slope)), mean, scale, variance


def backward_cpu(
    grad: Tensor,
    x: Tensor,
    saved: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
    needs_sums: bool,
    needs_residual: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    dtype = accumulation_type(x.dtype)
    deviation = _as_column(scale if training else torch.rsqrt(scale.to(dtype) + eps), 1.0, x)
    normalised = (x.to(dtype) - _as_column(mean, 0.0, x)) * deviation
    factor = _as_column(weight, 1.0, x)
    y = normalised * factor + _as_column(bias, 0.0, x) if saved is None else saved
    grad_y = activate_backward(grad.to(dtype), y, activation, slope)
    residual = picture_like(x).copy_(grad_y) if needs_residual else x.new_empty(0)
    if training or needs_sums:
        sums = torch.stack([grad_y.sum(dim=(0, 2, 3)), (grad_y * normalised).sum(dim=(0, 2, 3))])
    else:
        sums = x.new_empty(2, 0, dtype=dtype)
    if training:
        of_bias, of_weight = (_as_column(row, 0.0, x) / positions_of(x) for row in sums)
        grad_y = grad_y - of_bias - normalised * of_weight
    return picture_like(x).copy_(grad_y * deviation * factor), residual, sums


def _forward_fake(x: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_, training, _, _, _ = options
    return picture_like(x), *statistics_like(x, training)


def _backward_fake(grad: Tensor, x: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, training, _, _, _, needs_sums, needs_residual = options
    size = x.shape[1] if training or needs_sums else 0
    residual = picture_like(x) if needs_residual else x.new_empty(0)
    return picture_like(x), residual, empty(2, size, like=x, dtype=accumulation_type(x.dtype))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, running_mean, running_var, *options = inputs
    ctx.training, ctx.eps, ctx.activation, ctx.slope = options
    out, mean, scale, _ = output
    # with a residual sum, x alone does not tell the sign before the activation; the output does
    saved = out if residual is not None and ctx.activation != "none" else None
    if not ctx.training:
        mean, scale = running_mean, running_var
    ctx.save_for_backward(x, saved, mean, scale, weight, bias)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 10
    x, saved, mean, scale, weight, bias = ctx.saved_tensors
    _, wants_residual, wants_weight, wants_bias, *_ = ctx.needs_input_grad
    passes_through = ctx.activation == "none"
    grad_x, grad_residual, sums = _backward_operator(
        grad,
        x,
        saved,
        mean,
        scale,
        weight,
        bias,
        ctx.training,
        ctx.eps,
        ctx.activation,
        ctx.slope,
        wants_weight or wants_bias,
        wants_residual and not passes_through,
    )
    return (
        grad_x,
        (grad if passes_through else grad_residual) if wants_residual else None,
        sums[1].to(weight.dtype) if wants_weight else None,
        sums[0].to(bias.dtype) if wants_bias else None,
        *([None] * 6),
    )


_backward_operator = register(
    "batch_norm_act_backward",
    "(Tensor grad, Tensor x, Tensor? saved, Tensor mean, Tensor scale, Tensor? weight, Tensor? bias, "
    "bool training, float eps, str activation, float slope, bool needs_sums, bool needs_residual) "
    "-> (Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "batch_norm_act",
    "(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
    "bool training, float eps, str activation, float slope) -> (Tensor, Tensor, Tensor, Tensor)",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


def batch_norm_act(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Activation = "none",
    negative_slope: float = 0.01,
) -> Tensor:
    """``f(batch_norm(x) + residual)`` with statistics, sums and arithmetic in float32.

    Args:
        x: N×C×H×W, channels-last; float32, bfloat16 or float16 (on the CPU float64, too).
        weight: γ, C values, or None for 1.
        bias: β, C values, or None for 0.
        running_mean: C values, updated in place in training as PyTorch does; None keeps none.
        running_var: C values, the same with the unbiased variance.
        residual: N×C×H×W, channels-last, added before the activation.
        training: Normalise by the batch's statistics instead of the running ones.
        momentum: Weight of the batch in the running statistics.
        eps: Added to the variance.
        activation: f.
        negative_slope: LeakyReLU's, not negative.

    Returns:
        N×C×H×W, channels-last, of x's dtype (with a residual tensor of another dtype, the wider of the two).

    Raises:
        ValueError: A shape, layout, device or activation that does not fit, a single value per channel in training,
            or no running statistics in eval mode.
        TypeError: A dtype that is not supported.
    """
    check_activation(activation, ACTIVATIONS)
    check_tensor("x", x, dims=4, channels_last=True)
    for name, vector in (
        ("weight", weight),
        ("bias", bias),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ):
        check_vector(name, vector, (x.shape[1],), x)
    if negative_slope < 0:
        raise ValueError(f"negative_slope must not be negative: {negative_slope}")
    if training and positions_of(x) < 2:
        raise ValueError(f"x must hold more than 1 value per channel in training, not {tuple(x.shape)}")
    if (running_mean is None) != (running_var is None) or (not training and running_mean is None):
        raise ValueError("running_mean and running_var belong together, and eval mode needs them")
    if residual is not None:
        check_tensor("residual", residual, dims=4, channels_last=True)
        if residual.shape != x.shape or residual.device != x.device:
            raise ValueError(
                f"residual must be {tuple(x.shape)} on {x.device}, not {tuple(residual.shape)} on {residual.device}"
            )
        dtype = torch.promote_types(x.dtype, residual.dtype)
        x, residual = x.to(dtype), residual.to(dtype)
    out, mean, _, variance = _operator(
        x, residual, weight, bias, running_mean, running_var, training, eps, activation, negative_slope
    )
    if training and running_mean is not None:
        assert running_var is not None
        update_running_statistics([running_mean, running_var], [mean, variance], momentum)
    return out


def batch_norm_act_reference(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Activation = "none",
    negative_slope: float = 0.01,
) -> Tensor:
    """The same as `batch_norm_act` in PyTorch's own operators."""
    x = F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return activate(x if residual is None else x + residual, activation, negative_slope)
