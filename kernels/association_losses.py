"""The association's losses fused with the layers whose outputs they compare (Eq. 5, 6 and 8 of the paper).

All three are a fully connected layer, batch normalisation and a mean squared error: L_intact ends φ, L_e ends σ, and
L_dis ends φ by its running statistics. Of the layer only what comes before its normalisation is kept, for the
backward pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.choice import check_tensor
from intact_fast.kernels.launch import empty
from intact_fast.kernels.linear_bn_act import (
    BatchStatistics,
    LinearBN,
    as_under_autocast,
    check_layer,
    linear_bn_act_reference,
)
from intact_fast.kernels.linear_bn_kernels import TILE_LIMIT, launch_backward, launch_forward
from intact_fast.kernels.linear_bn_plain import (
    Layer,
    backward_fake,
    layer_fakes,
    normalised_output,
    plain_backward,
    plain_forward,
)
from intact_fast.kernels.registration import accumulation_type, register


def forward_cpu(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    target: Tensor,
    training: bool,
    eps: float,
) -> Layer:
    """Compute the forward pass in PyTorch."""
    y, *rest = plain_forward(x, weight, gamma, beta, running_mean, running_var, training, eps, False)
    return (F.mse_loss(y, target.to(y.dtype)), *rest)  # type: ignore[return-value]


def forward_triton(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    target: Tensor,
    training: bool,
    eps: float,
) -> Layer:
    """Launch the forward pass, or leave a batch beyond the tile to PyTorch."""
    if len(x) > TILE_LIMIT:
        return forward_cpu(x, weight, gamma, beta, running_mean, running_var, target, training, eps)
    parts, *rest = launch_forward(x, weight, gamma, beta, running_mean, running_var, target, training, eps, False)
    return (parts.sum(), *rest)  # type: ignore[return-value]


def backward_cpu(
    grad: Tensor,
    target: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    needs_x: bool,
    needs_weight: bool,
    needs_target: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    y = normalised_output(z, mean, scale, gamma, beta, training, eps)
    grad_y = grad * (2.0 / y.numel()) * (y - target.to(y.dtype))
    grad_target = (-grad_y).to(target.dtype) if needs_target else x.new_empty(0)
    layer = plain_backward(grad_y, x, weight, gamma, z, mean, scale, training, eps, needs_x, needs_weight)
    return *layer, grad_target


def backward_triton(grad: Tensor, target: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the backward pass, or leave a batch beyond the tile to PyTorch; arguments as `backward_cpu` takes them."""
    if len(x) > TILE_LIMIT:
        return backward_cpu(grad, target, x, *arguments)
    *layer, training, eps, needs_x, needs_weight, needs_target = arguments
    return launch_backward(grad, target, x, *layer, training, eps, False, needs_x, needs_weight, needs_target)


def _forward_fake(x: Tensor, weight: Tensor, *options: Any) -> Layer:
    *_, training, _ = options
    loss = x.new_empty((), dtype=accumulation_type(x.dtype))
    return loss, *layer_fakes(x, weight, training)


def _backward_fake(
    grad: Tensor, target: Tensor, x: Tensor, weight: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_, needs_x, needs_weight, needs_target = options
    grad_target = empty(*target.shape, like=target) if needs_target else x.new_empty(0)
    return *backward_fake(x, weight, needs_x, needs_weight), grad_target


def _save(ctx: Any, inputs: tuple[Any, ...], output: Layer) -> None:
    x, weight, gamma, beta, running_mean, running_var, target, ctx.training, ctx.eps = inputs
    _, z, mean, scale, _ = output
    if not ctx.training:
        mean, scale = running_mean, running_var
    ctx.save_for_backward(target, x, weight, gamma, beta, z, mean, scale)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    target, x, weight, gamma, beta, *rest = ctx.saved_tensors
    wants_x, wants_weight, wants_gamma, wants_beta, _, _, wants_target, *_ = ctx.needs_input_grad
    grad_x, grad_weight, sums, grad_target = _backward_operator(
        grad,
        target,
        x,
        weight,
        gamma,
        beta,
        *rest,
        ctx.training,
        ctx.eps,
        wants_x,
        wants_weight,
        wants_target,
    )
    return (
        grad_x if wants_x else None,
        grad_weight if wants_weight else None,
        sums[1].to(gamma.dtype) if wants_gamma else None,
        sums[0].to(beta.dtype) if wants_beta else None,
        None,
        None,
        grad_target if wants_target else None,
        None,
        None,
    )


_backward_operator = register(
    "linear_bn_mse_backward",
    "(Tensor grad, Tensor target, Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor z, Tensor mean, "
    "Tensor scale, bool training, float eps, bool needs_x, bool needs_weight, bool needs_target) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "linear_bn_mse",
    "(Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor? running_mean, Tensor? running_var, "
    "Tensor target, bool training, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


def linear_bn_mse(x: Tensor, layer: LinearBN, target: Tensor, *, training: bool) -> tuple[Tensor, BatchStatistics]:
    """``mean((batch_norm(x @ weight.T) - target)²)`` with gradients to x, the layer and the target.

    Running statistics are left to the caller.

    Args:
        x: B×K.
        layer: The last layer.
        target: B×N.
        training: Normalise by the batch's statistics instead of the running ones.

    Returns:
        The loss, a float32 scalar, and the batch's statistics.

    Raises:
        ValueError, TypeError: A shape, device or dtype that does not fit.
    """
    check_layer(x, layer, training)
    check_tensor("target", target, dims=2)
    if target.shape != (len(x), len(layer.weight)) or target.device != x.device:
        raise ValueError(
            f"target must be {(len(x), len(layer.weight))} on {x.device}, not {tuple(target.shape)} on {target.device}"
        )
    x, weight = as_under_autocast(x, layer.weight)
    vectors = (layer.gamma, layer.beta, layer.running_mean, layer.running_var)
    loss, _, mean, _, variance = _operator(x, weight, *vectors, target, training, layer.eps)
    return loss, BatchStatistics(mean, variance)


class AssociationLosses(NamedTuple):
    """The two losses of φ's and σ's own update, and what the batch says about the layers that end in them."""

    l_intact: Tensor
    """Eq. 5, scalar."""
    l_e: Tensor
    """Eq. 6, scalar."""
    phi_statistics: BatchStatistics
    """Of φ's last layer."""
    sigma_statistics: BatchStatistics
    """Of σ's last layer."""


def association_losses(
    phi_hidden: Tensor,
    phi_last: LinearBN,
    sigma_hidden: Tensor,
    sigma_last: LinearBN,
    f_d: Tensor,
    f_e: Tensor,
    *,
    training: bool = True,
) -> AssociationLosses:
    """L_intact and L_e (Eq. 5 and 6), each fused with the last layer of φ or σ.

    Args:
        phi_hidden: B×K, what φ's last layer takes.
        phi_last: φ's last layer, with D outputs.
        sigma_hidden: B×K', what σ's last layer takes.
        sigma_last: σ's last layer, with as many outputs as f_e.
        f_d: B×D, a constant whatever graph it carries.
        f_e: B×latent; L_e's gradient reaches it.
        training: Normalise by the batch's statistics.

    Returns:
        The losses; running statistics are left to the caller (`update_layers`).

    Raises:
        ValueError, TypeError: As `linear_bn_mse`.
    """
    l_intact, of_phi = linear_bn_mse(phi_hidden, phi_last, f_d.detach(), training=training)
    l_e, of_sigma = linear_bn_mse(sigma_hidden, sigma_last, f_e, training=training)
    return AssociationLosses(l_intact, l_e, of_phi, of_sigma)


def distillation_loss(phi_hidden: Tensor, phi_last: LinearBN, f_d: Tensor) -> Tensor:
    """L_dis (Eq. 8) fused with the frozen φ's last layer; the gradient runs to ``phi_hidden`` and ``f_d``.

    Args:
        phi_hidden: B×K, what φ's last layer takes.
        phi_last: φ's last layer, normalising by its running statistics.
        f_d: B×D.

    Returns:
        Scalar.

    Raises:
        ValueError, TypeError: As `linear_bn_mse`.
    """
    return linear_bn_mse(phi_hidden, phi_last, f_d, training=False)[0]


def linear_bn_mse_reference(x: Tensor, layer: LinearBN, target: Tensor, *, training: bool) -> Tensor:
    """The same loss as `linear_bn_mse` in PyTorch's own operators; updates running statistics in training."""
    weight, gamma, beta, running_mean, running_var, momentum, eps = layer
    y = linear_bn_act_reference(
        x,
        weight,
        gamma,
        beta,
        running_mean,
        running_var,
        training=training,
        momentum=momentum,
        eps=eps,
        activation="none",
    )
    return torch.mean((y.to(accumulation_type(y.dtype)) - target).square())
