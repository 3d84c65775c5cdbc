"""The three updates of Algorithm 1, with the forward passes that they can share (DESIGN section 4).

G does not change between the updates of D and φ, so ``fake = G(x_l)`` is computed once with its
graph: D sees it detached, and G's own update goes on from it. ``naive_steps`` is the plain form that
this one is tested against.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from intact_fast.config import Config
from intact_fast.data.batches import Batch
from intact_fast.losses import (
    association_loss,
    association_total_loss,
    bridge_loss,
    content_loss,
    discriminator_loss,
    generator_adversarial_loss,
    identity_loss,
    super_resolution_loss,
)
from intact_fast.models import AssociationNetwork, Bridge, Discriminator, DiscriminatorOutput
from intact_fast.models.association import fused_association_losses
from intact_fast.training.distributed import Process
from intact_fast.training.networks import Networks
from intact_fast.training.optimisers import Optimisers, gradient_norm

Record = dict[str, Tensor]
"""Named device scalars of one iteration; nothing is brought to the host here."""


class Step(Protocol):
    """One iteration of Algorithm 1."""

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates; ``detailed`` adds gradient norms to the record."""
        ...


class DiscriminatorObjective(nn.Module):
    """D on real and fake pictures in one forward pass, which is what DDP wraps."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x_h: Tensor, fake: Tensor) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        """Judge real and fake pictures (N×3×H×W each) as two batches of their own statistics."""
        return self.discriminator(x_h), self.discriminator(fake)


class AssociationObjective(nn.Module):
    """φ and σ in one forward pass, which is what DDP wraps."""

    def __init__(self, phi: AssociationNetwork, sigma: Bridge) -> None:
        super().__init__()
        self.phi = phi
        self.sigma = sigma

    def forward(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return L_intact (Eq. 5), L_e (Eq. 6) and f_e for f_c (N×512) and f_d (N×D)."""
        if self.phi.encoder.fuses(f_c) and self.sigma.layers.fuses(f_d):
            return fused_association_losses(self.phi, self.sigma, f_c, f_d)
        predicted, f_e = self.phi(f_c)
        return association_loss(predicted, f_d), bridge_loss(self.sigma(f_d), f_e), f_e


class SharedStep:
    """One iteration with shared forward passes.

    Args:
        networks: All networks.
        optimisers: Their optimisers.
        config: Weights and forms of the losses.
        process: For wrapping the trainable networks in DDP.
        autocast: Type of G, D and C; None for float32. φ, σ and the losses are always float32.
    """

    def __init__(
        self,
        networks: Networks,
        optimisers: Optimisers,
        config: Config,
        process: Process,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.networks = networks
        self.optimisers = optimisers
        self.loss = config.loss
        self.association_config = config.association
        self._device_type = process.device.type
        self._autocast_dtype = autocast
        self.generator = process.parallel(networks.generator)
        self.discriminator_objective = process.parallel(DiscriminatorObjective(networks.discriminator))
        self.association_objective: nn.Module | None = None
        if networks.association is not None:
            objective = AssociationObjective(networks.association.phi, networks.association.sigma)
            self.association_objective = process.parallel(objective)

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch.

        Args:
            batch: Pairs of pictures with identity labels.
            iteration: Number of the iteration, for the warm-up of L_dis.
            detailed: Also measure gradient norms (more backward passes, same updates).
        """
        assert batch.x_l is not None
        self.networks.generator.train()
        with self._autocast():
            fake = self.generator(batch.x_l)
        fake = fake.float()
        record = self._update_discriminator(batch.x_h, fake.detach(), iteration, detailed)
        if self.association_objective is not None:
            record |= self._update_association(batch.x_h, detailed)
        record |= self._update_generator(batch, fake, iteration, detailed)
        return record

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(
            self._device_type, dtype=self._autocast_dtype, enabled=self._autocast_dtype is not None
        )

    def _update_discriminator(self, x_h: Tensor, fake: Tensor, iteration: int, detailed: bool) -> Record:
        networks = self.networks
        with self._autocast():
            real_output, fake_output = self.discriminator_objective(x_h, fake)
        loss = discriminator_loss(real_output.logits.float(), fake_output.logits.float())
        record = {"loss/discriminator": loss.detach()}
        if self.association_config.dis_updates_discriminator and networks.association is not None:
            with torch.no_grad(), self._autocast():
                f_c = networks.critic.embed(fake)
            weight = self.loss.lambda_dis * networks.association.health.weight(iteration)
            loss = loss + weight * networks.l_dis(f_c.float(), networks.f_d(fake_output))
        self.optimisers.discriminator.zero_grad()
        loss.backward()
        if detailed:
            record["gradient/discriminator"] = gradient_norm(networks.discriminator)
        self.optimisers.discriminator.step()
        networks.update_average()
        return record

    def _update_association(self, x_h: Tensor, detailed: bool) -> Record:
        networks = self.networks
        association = networks.association
        assert association is not None
        assert self.association_objective is not None
        assert self.optimisers.association is not None
        with torch.no_grad(), self._autocast():
            output = networks.target_discriminator(x_h)
            f_c = networks.critic.embed(x_h)
        f_c = f_c.float()
        association.scaler.observe(output.feature(networks.feature).float())
        with torch.no_grad():
            f_d = networks.f_d(output)
            variance = f_d.var(dim=0, unbiased=False).mean()
            dis_hr = networks.l_dis(f_c, f_d)
            r2 = 1.0 - dis_hr / variance
            association.health.observe(r2)
        association.phi.train()
        association.sigma.train()
        for _ in range(self.association_config.updates_per_iteration):
            l_intact, l_e, f_e = self.association_objective(f_c, f_d)
            self.optimisers.association.zero_grad()
            association_total_loss(l_intact, l_e).backward()
            self.optimisers.association.step()
        record = {
            "loss/intact": l_intact.detach(),
            "loss/e": l_e.detach(),
            "loss/dis_hr": dis_hr,
            "association/r2": r2,
            "association/r2_recent": association.health.r2.clone(),
            "association/r2_fit": 1.0 - l_intact.detach() / variance,
            "association/std_f_e": f_e.detach().std(dim=0).mean(),
        }
        if detailed:
            record["gradient/association"] = gradient_norm(self.association_objective)
        return record

    def _update_generator(self, batch: Batch, fake: Tensor, iteration: int, detailed: bool) -> Record:
        networks = self.networks
        with self._autocast():
            fake_output = networks.frozen_discriminator(fake)
            f_c = networks.critic.embed(fake)
            logits = networks.critic.classify(f_c)
        content = content_loss(batch.x_h, fake)
        adversarial = generator_adversarial_loss(fake_output.logits.float(), self.loss.adversarial)
        identity = identity_loss(logits.float(), batch.label)
        loss = super_resolution_loss(content, adversarial, identity, self.loss.lambda_g, self.loss.lambda_c)
        weighted = {
            "mse": content,
            "gan": self.loss.lambda_g * adversarial,
            "id": self.loss.lambda_c * identity,
        }
        record = {
            "loss/mse": content.detach(),
            "loss/gan": adversarial.detach(),
            "loss/id": identity.detach(),
        }
        if networks.association is not None:
            if networks.discriminator_ema is not None:
                with self._autocast():
                    fake_output = networks.discriminator_ema(fake)
            dis = networks.l_dis(f_c.float(), networks.f_d(fake_output))
            weight = self.loss.lambda_dis * networks.association.health.weight(iteration)
            weighted["dis"] = weight * dis
            loss = loss + weighted["dis"]
            record |= {"loss/dis_sr": dis.detach(), "association/weight": weight}
        record["loss/generator"] = loss.detach()
        if detailed:
            for name, term in weighted.items():
                (gradient,) = torch.autograd.grad(term, fake, retain_graph=True)
                record[f"gradient/fake_{name}"] = gradient.norm()
        self.optimisers.generator.zero_grad()
        loss.backward()
        if detailed:
            record["gradient/generator"] = gradient_norm(networks.generator)
        self.optimisers.generator.step()
        return record
