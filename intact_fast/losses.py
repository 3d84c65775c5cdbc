"""The paper's Eq. 1-8, one function each, and the feature loss that goes beyond them.

Every squared norm is the mean over all elements, so that a term's scale does not depend on a dimension.
Every loss is a scalar averaged over the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_IDENTITY = -1
"""Label of pictures that have none, as `data.batches` has it."""


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Eq. 1 and 2 for D, to be minimised.

    ``-E[log D(x_h)] - E[log(1 - D(G(x_l)))]`` with D the sigmoid of the logits.

    Args:
        real_logits: N logits of D on x_h.
        fake_logits: N logits of D on G(x_l).

    Returns:
        Scalar, the sum of the two means.
    """
    # -log sigmoid(a) is softplus(-a) and -log(1 - sigmoid(a)) is softplus(a), without overflow
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_adversarial_loss(
    fake_logits: Tensor, variant: Literal["non_saturating", "saturating"] = "non_saturating"
) -> Tensor:
    """Eq. 1 and 2 for G, to be minimised.

    ``saturating`` is Eq. 1 literally, ``E[log(1 - D(G(x_l)))]``. ``non_saturating`` is
    ``-E[log D(G(x_l))]``. It has the same fixed point, and a gradient where D is sure
    (Goodfellow et al. 2014, section 3).

    Args:
        fake_logits: N logits of D on G(x_l).
        variant: Which of the two.

    Returns:
        Scalar mean.
    """
    if variant == "saturating":
        return -F.softplus(fake_logits).mean()
    return F.softplus(-fake_logits).mean()


def identity_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Eq. 3, ``L_id = -log p_y``.

    Args:
        logits: N×num_classes of the critic's classifier.
        labels: N int64, the identity of each picture; -1 leaves a picture out.
        label_smoothing: Used while the critic itself is trained; 0 in G's update.

    Returns:
        Scalar mean over the pictures with an identity; 0 where there is none.
    """
    total = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, ignore_index=_NO_IDENTITY, reduction="sum")
    return total / (labels != _NO_IDENTITY).sum().clamp_min(1)


def content_loss(x_h: Tensor, fake: Tensor) -> Tensor:
    """``L_MSE = ||x_h - G(x_l)||²`` of section 3.1, on ImageNet-normalised pictures.

    Args:
        x_h: N×3×H×W.
        fake: N×3×H×W.

    Returns:
        Scalar, the mean over all elements.
    """
    return F.mse_loss(fake, x_h)


def super_resolution_loss(
    content: Tensor, adversarial: Tensor, identity: Tensor, lambda_g: float = 0.1, lambda_c: float = 0.3
) -> Tensor:
    """Eq. 4, ``L_sr = L_MSE + λ_g L_gan + λ_c L_id``, all scalars."""
    return content + lambda_g * adversarial + lambda_c * identity


def feature_loss(query: Tensor, target: Tensor) -> Tensor:
    """``L_f``: the squared distance of features, relative to the length of what they should be.

    ``mean ||f_c(G(x_l)) - f_c(x_h)||² / mean ||f_c(x_h)||²`` asks for the frozen C's feature of the same picture, where
    L_id (Eq. 3) asks for its class alone. It needs no label. Not in the paper.

    Args:
        query: N×…, of the super-resolved pictures.
        target: N×…, of the HR pictures; a constant here.

    Returns:
        Scalar; 0 where they agree, 1 where ``query`` is 0.
    """
    target = target.detach()
    return F.mse_loss(query, target) / target.square().mean()


def cosine_feature_loss(query: Tensor, target: Tensor) -> Tensor:
    """The feature loss of unit features, ``mean (1 - cos(f_c(G(x_l)), f_c(x_h)))``.

    Args:
        query: N×D, of the super-resolved pictures.
        target: N×D, of the HR pictures; a constant here.

    Returns:
        Scalar from 0 to 2.
    """
    return 1 - F.cosine_similarity(query, target.detach()).mean()


def association_loss(predicted_f_d: Tensor, f_d: Tensor) -> Tensor:
    """Eq. 5, ``L_intact = ||φ(f_c) - f_d||²`` on HR pictures; trains φ alone.

    Args:
        predicted_f_d: N×D, φ(f_c(x_h)).
        f_d: N×D, from D on x_h; a constant here, whatever graph it carries.

    Returns:
        Scalar, the mean over all elements.
    """
    return F.mse_loss(predicted_f_d, f_d.detach())


def bridge_loss(bridged: Tensor, f_e: Tensor) -> Tensor:
    """Eq. 6, ``L_e = ||σ(f_d) - f_e||²``; trains σ and the encoder of φ.

    Args:
        bridged: N×latent, σ(f_d).
        f_e: N×latent, the encoder's output inside φ.

    Returns:
        Scalar, the mean over all elements.
    """
    return F.mse_loss(bridged, f_e)


def association_total_loss(association: Tensor, bridge: Tensor) -> Tensor:
    """Eq. 7, ``L_intact-e = L_intact + L_e``, all scalars."""
    return association + bridge


def distillation_loss(predicted_f_d: Tensor, f_d: Tensor) -> Tensor:
    """Eq. 8, ``L_dis = ||φ(f'_c) - f'_d||²`` on G(x_l).

    Unlike Eq. 5 both sides depend on the picture: the gradient runs through the frozen C and φ and
    through the frozen D back to G.

    Args:
        predicted_f_d: N×D, φ(f_c(G(x_l))).
        f_d: N×D, from D on G(x_l).

    Returns:
        Scalar, the mean over all elements.
    """
    return torch.mean((predicted_f_d - f_d).square())
