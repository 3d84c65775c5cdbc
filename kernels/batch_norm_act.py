"""Batch normalisation, activation and an optional residual sum on channels-last tensors."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import ACTIVATIONS, Activation, activate, check_activation
from intact_fast.kernels.batch_norm_launch import backward_triton, forward_triton
from intact_fast.kernels.batch_norm_plain import backward_cpu, forward_cpu
from intact_fast.kernels.checks import check_running_statistics, check_tensor, check_vector
from intact_fast.kernels.launch import empty
from intact_fast.kernels.pictures import picture_like, positions_of, with_summand
from intact_fast.kernels.registration import accumulation_type, register
from intact_fast.kernels.running_statistics import affine_gradients, empty_statistics, update_running_statistics


def _forward_fake(x: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_, training, _, _, _ = options
    return picture_like(x), *empty_statistics(x, x.shape[1], training)


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
        *affine_gradients(sums, weight, bias, wants_weight, wants_bias),
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
    check_running_statistics(running_mean, running_var, training)
    x, residual = with_summand("residual", x, residual, x.shape)
    out, mean, _, variance = _operator(
        x, residual, weight, bias, running_mean, running_var, training, eps, activation, negative_slope
    )
    if training and running_mean is not None and running_var is not None:
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
