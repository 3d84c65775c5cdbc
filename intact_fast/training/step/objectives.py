"""What each update of Algorithm 1 computes before its backward pass: one module per role, each one graph.

Every tensor that changes from iteration to iteration is an argument, so that a compiled role is compiled once. Autocast
is switched inside for the same reason: G, D and C may run in 16 bits, φ, σ and the losses are always float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from intact_fast.config.options import Config
from intact_fast.losses import (
    association_loss,
    bridge_loss,
    content_loss,
    discriminator_loss,
    distillation_loss,
    generator_adversarial_loss,
    identity_loss,
    super_resolution_loss,
)
from intact_fast.models import AssociationNetwork, Bridge, Discriminator, DiscriminatorOutput, Generator
from intact_fast.models.association import fused_association_losses
from intact_fast.training.step.networks import Networks, direct


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

    def __init__(self, generator: Generator, autocast: Autocast) -> None:
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

    def forward(self, x_h: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, DiscriminatorOutput]:
        """Judge pictures (N×3×H×W each).

        Returns:
            The loss; the share of all 2N pictures that D takes for what they are, without gradient; what D gave for
            the fake ones.
        """
        with self._autocast():
            real_output, fake_output = self.discriminator(x_h), self.discriminator(fake)
        real, false = real_output.logits.float(), fake_output.logits.float()
        right = torch.cat([real > 0, false < 0]).float().mean()
        return discriminator_loss(real, false), right, fake_output


class CriticFeatures(nn.Module):
    """f_c of HR pictures by the frozen C, without gradient.

    C is not registered: nothing here is trained or saved.
    """

    def __init__(self, networks: Networks, autocast: Autocast) -> None:
        super().__init__()
        self._networks = (networks,)
        self._autocast = autocast

    @torch.no_grad()
    def forward(self, x_h: Tensor) -> Tensor:
        """Map N×3×H×W to N×512 float32."""
        (networks,) = self._networks
        with self._autocast():
            f_c = networks.critic.embed(x_h)
        return f_c.float()


class Targets(NamedTuple):
    """What φ and σ are trained against in one iteration."""

    f_d: Tensor
    """N×D, scaled, float32."""
    variance: Tensor
    """L_dis of a φ that knew the means alone, scalar."""
    dis_hr: Tensor
    """L_dis on HR pictures as it is on G's (by φ as it was before its update, or to the mean), scalar."""
    r2: Tensor
    """R² of φ on them, scalar."""


class AssociationTargets(nn.Module):
    """f_d(x_h) from the updated D, and how well φ predicts it from f_c(x_h). No gradient.

    The networks are not registered: nothing here is trained or saved.
    """

    def __init__(self, networks: Networks, autocast: Autocast) -> None:
        super().__init__()
        self._networks = (networks,)
        self._autocast = autocast

    @torch.no_grad()
    def forward(self, x_h: Tensor, f_c: Tensor) -> Targets:
        """Look at HR pictures (N×3×H×W) with their f_c (N×512 float32)."""
        (networks,) = self._networks
        association = networks.association
        assert association is not None
        with self._autocast():
            output = networks.target_discriminator(x_h)
        association.scaler.observe(output.feature(networks.feature).float())
        f_d = networks.f_d(output)
        variance = networks.association_variance(f_c, f_d)
        by_phi = networks.l_dis(f_c, f_d)
        r2 = 1.0 - by_phi / variance
        level = networks.dis_level(f_d, by_phi, variance)
        association.health.observe(r2, level)
        return Targets(f_d, variance, by_phi if networks.uses_prediction else level, r2)


class AssociationObjective(nn.Module):
    """φ's and σ's losses, which DDP wraps as one.

    Args:
        phi: φ, or the encoder of f_c in a common space.
        sigma: σ, or the encoder of f_d; None without L_e.
        form: Which way the association runs.
    """

    def __init__(self, phi: AssociationNetwork | Bridge, sigma: Bridge | None, form: str = "r-to-d") -> None:
        super().__init__()
        self.phi = phi
        self.sigma = sigma
        self._form = form

    def forward(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return L_intact (Eq. 5), L_e (Eq. 6) where there is one, and f_e, for f_c (N×512) and f_d (N×D)."""
        if not isinstance(self.phi, AssociationNetwork):
            assert self.sigma is not None
            f_e = self.phi(f_c)
            return distillation_loss(self.sigma(f_d), f_e), None, f_e
        source, target = direct(self._form, f_c, f_d)
        if self.sigma is None:
            predicted, f_e = self.phi(source)
            return association_loss(predicted, target), None, f_e
        if self.phi.fuses(source) and self.sigma.layers.fuses(target):
            return fused_association_losses(self.phi, self.sigma, source, target)
        predicted, f_e = self.phi(source)
        return association_loss(predicted, target), bridge_loss(self.sigma(target), f_e), f_e


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


class GeneratorObjective(nn.Module):
    """G's loss through the frozen D, C and φ; the gradient reaches ``fake`` alone.

    The networks are not registered: nothing here is trained or saved.
    """

    def __init__(self, networks: Networks, config: Config, autocast: Autocast) -> None:
        super().__init__()
        self._networks = (networks,)
        self._config = config.loss
        self._autocast = autocast

    def forward(self, x_h: Tensor, fake: Tensor, label: Tensor, dis_weight: Tensor | None) -> GeneratorTerms:
        """Judge G's pictures.

        Args:
            x_h: N×3×H×W.
            fake: N×3×H×W.
            label: N int64.
            dis_weight: Factor of L_dis, a scalar; None without the association.
        """
        (networks,) = self._networks
        config = self._config
        with self._autocast():
            f_c = networks.critic.embed(fake)
            logits = networks.critic.classify(f_c)
        content = content_loss(x_h, fake)
        identity = identity_loss(logits.float(), label)
        if not networks.uses_discriminator:
            return GeneratorTerms(content + config.lambda_c * identity, content, None, identity, None)
        with self._autocast():
            output = networks.frozen_discriminator(fake)
        adversarial = generator_adversarial_loss(output.logits.float(), config.adversarial)
        loss = super_resolution_loss(content, adversarial, identity, config.lambda_g, config.lambda_c)
        if dis_weight is None:
            return GeneratorTerms(loss, content, adversarial, identity, None)
        if networks.discriminator_ema is not None:
            with self._autocast():
                output = networks.discriminator_ema(fake)
        dis = networks.l_dis_for_generator(f_c.float(), networks.f_d(output))
        assert networks.association is not None
        loss = loss + dis_weight * networks.association.health.acting(dis)
        return GeneratorTerms(loss, content, adversarial, identity, dis)
