"""The association's losses fused with the layers whose outputs they compare (Eq. 5, 6 and 8 of the paper).

All three are a fully connected layer, batch normalisation and a mean squared error. L_intact ends φ, L_e ends σ, and
L_dis ends φ by its running statistics. The layer's output is never written; the backward pass has it again from what
comes before the normalisation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from intact_fast.kernels.checks import check_beside, check_tensor
from intact_fast.kernels.linear_bn_act import linear_bn_act_reference, run_layer
from intact_fast.kernels.linear_bn_layer import BatchStatistics, LinearBN, check_layer
from intact_fast.kernels.registration import accumulation_type


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
    check_beside("target", target, (len(x), len(layer.weight)), x)
    return run_layer(x, layer, target, training=training, relu=False)


class AssociationLosses(NamedTuple):
    """The two losses of φ's and σ's own update, and the batch's statistics of the layers that end in them."""

    l_intact: Tensor
    """Eq. 5, scalar."""
    l_e: Tensor
    """Eq. 6, scalar."""
    phi_statistics: BatchStatistics
    """The batch's, of φ's last layer."""
    sigma_statistics: BatchStatistics
    """The batch's, of σ's last layer."""


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
    y = linear_bn_act_reference(x, layer, training=training, activation="none")
    return torch.mean((y.to(accumulation_type(y.dtype)) - target).square())
