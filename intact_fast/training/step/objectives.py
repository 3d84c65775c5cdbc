"""The objectives: each computes what an update of Algorithm 1 needs before its backward pass, as one graph.

Every tensor that changes from iteration to iteration is an argument, so that a compiled role is compiled once. Autocast
is switched inside for the same reason: G, D and C may run in 16 bits, φ, σ and the losses are always float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from intact_fast.config.options import LossConfig
from intact_fast.losses import (
    content_loss,
    discriminator_loss,
    generator_adversarial_loss,
    identity_loss,
    super_resolution_loss,
)
from intact_fast.models import AnyGenerator, Discriminator, DiscriminatorOutput, NoGenerator, OSNet
from intact_fast.models.unregistered import Unregistered
from intact_fast.training.step.association import Association, HRTargets
from intact_fast.training.step.feature_term import Seen, feature_term, look, needs_map
from intact_fast.training.step.networks import Networks


class Autocast:
    """Autocast to one type, or none.

    Args:
        device: Where the networks are.
        dtype: Type of G, D and C; None for float32.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self._device = device.type
        self.dtype = dtype

    def __call__(self) -> torch.autocast:
        """A context in which it is switched on."""
        return torch.autocast(self._device, dtype=self.dtype, enabled=self.dtype is not None)


class GeneratorForward(nn.Module):
    """``fake = G(x_l)`` in float32, shared by the updates of D and G."""

    def __init__(self, generator: AnyGenerator | NoGenerator, autocast: Autocast) -> None:
        super().__init__()
        self.generator = generator
        self._autocast = autocast

    def forward(self, x_l: Tensor) -> Tensor:
        """Map N×3×H×W to N×3×H×W."""
        with self._autocast():
            fake = self.generator(x_l)
        return fake.float()


class DiscriminatorObjective(nn.Module):
    """D's own loss (Eq. 1 and 2) on real and fake pictures, each a batch of its own statistics."""

    def __init__(self, discriminator: Discriminator, autocast: Autocast) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._autocast = autocast

    def forward(
        self, x_h: Tensor, fake: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor, DiscriminatorOutput]:
        """Judge pictures (N×3×H×W each), where D is conditional each together with its condition (N×512 float32).

        Returns:
            The loss; the share of all 2N pictures that D takes for what they are, without gradient; what D gave for
            the fake ones.
        """
        with self._autocast():
            real_output, fake_output = self.discriminator(x_h, condition), self.discriminator(fake, condition)
        real, false = real_output.logits.float(), fake_output.logits.float()
        right = torch.cat([real > 0, false < 0]).float().mean()
        return discriminator_loss(real, false), right, fake_output


class CriticFeatures(nn.Module):
    """What the frozen C sees of HR pictures, without gradient."""

    def __init__(self, critic: OSNet, autocast: Autocast, with_map: bool = False) -> None:
        super().__init__()
        self._critic = Unregistered(critic)
        self._autocast = autocast
        self._with_map = with_map

    @torch.no_grad()
    def forward(self, x_h: Tensor) -> Seen:
        """Look at N×3×H×W."""
        with self._autocast():
            return look(self._critic.network, x_h, self._with_map)


class AssociationTargets(nn.Module):
    """f_d(x_h) from the updated D, and how well φ predicts it from f_c(x_h). No gradient."""

    def __init__(self, networks: Networks, association: Association, autocast: Autocast) -> None:
        super().__init__()
        self._discriminator = Unregistered(networks.target_discriminator)
        self._association = Unregistered(association)
        self._autocast = autocast

    @torch.no_grad()
    def forward(self, x_h: Tensor, f_c: Tensor) -> HRTargets:
        """Look at HR pictures (N×3×H×W) with their f_c (N×512 float32)."""
        with self._autocast():
            output = self._discriminator.network(x_h)
        return self._association.network.observe_hr(f_c, output)


class GeneratorTerms(NamedTuple):
    """G's loss and its parts, all scalars."""

    loss: Tensor
    """Eq. 4 plus the weighted L_dis."""
    content: Tensor
    """L_MSE."""
    adversarial: Tensor | None
    """L_gan for G; None without D."""
    identity: Tensor
    """L_id."""
    distillation: Tensor | None
    """L_dis, unweighted; None without the association."""
    feature: Tensor | None
    """L_f, unweighted; None without it."""


class GeneratorObjective(nn.Module):
    """G's loss through the frozen D, C and φ; the gradient reaches ``fake``, and C_q where there is one."""

    def __init__(self, networks: Networks, weights: LossConfig, autocast: Autocast) -> None:
        super().__init__()
        self._networks = Unregistered(networks)
        self._weights = weights
        self._autocast = autocast

    def forward(
        self, x_h: Tensor, fake: Tensor, label: Tensor, dis_weight: Tensor | None, hr: Seen | None = None
    ) -> GeneratorTerms:
        """Judge G's pictures.

        Args:
            x_h: N×3×H×W.
            fake: N×3×H×W.
            label: N int64.
            dis_weight: Weight of L_dis, a scalar; None without the association.
            hr: What C sees of ``x_h``; None where no term needs it.
        """
        networks, weights = self._networks.network, self._weights
        critic = networks.critic_of_queries
        with self._autocast():
            seen = look(critic, fake, needs_map(weights))
            logits = critic.classify(seen.f_c)
        content = content_loss(x_h, fake)
        identity = identity_loss(logits.float(), label)
        feature = None if hr is None or weights.lambda_f == 0 else feature_term(weights.feature, seen, hr)
        adversarial = distillation = None
        if not networks.uses_discriminator:
            loss = content + weights.lambda_c * identity
        else:
            with self._autocast():
                output = networks.frozen_discriminator(fake, None if hr is None else networks.condition(hr.f_c))
            adversarial = generator_adversarial_loss(output.logits.float(), weights.adversarial)
            loss = super_resolution_loss(content, adversarial, identity, weights.lambda_g, weights.lambda_c)
        if feature is not None:
            loss = loss + weights.lambda_f * feature
        association = networks.association
        if association is not None and dis_weight is not None:
            if networks.discriminator_ema is not None:
                with self._autocast():
                    output = networks.discriminator_ema(fake)
            distillation = association.l_dis_for_generator(seen.f_c, association.f_d(output))
            loss = loss + dis_weight * association.health.acting(distillation)
        return GeneratorTerms(loss, content, adversarial, identity, distillation, feature)
