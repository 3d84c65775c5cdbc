"""Algorithm 1 as one would first write it down: the reference that the shared form must equal.

Every update recomputes what it needs, in float32, and freezing is done by toggling. Slow, and kept
for that reason: nothing here is clever enough to be wrong in the same way as the fast form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    distillation_loss,
    generator_adversarial_loss,
    identity_loss,
    super_resolution_loss,
)
from intact_fast.training.networks import Association, Networks
from intact_fast.training.optimisers import Optimisers, gradient_norm
from intact_fast.training.steps import Record


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Undo what a forward pass does to running statistics."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, old in zip(module.buffers(), before, strict=True):
            buffer.copy_(old)


@contextmanager
def _frozen(*modules: nn.Module) -> Iterator[None]:
    """Switch off the gradients of parameters for a while."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


class NaiveStep:
    """One iteration without sharing; single process, float32.

    Args:
        networks: All networks.
        optimisers: Their optimisers.
        config: Weights and forms of the losses.
    """

    def __init__(self, networks: Networks, optimisers: Optimisers, config: Config) -> None:
        self.networks = networks
        self.optimisers = optimisers
        self.loss = config.loss
        self.config = config.association

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch; see :class:`SharedStep`."""
        record = self._update_discriminator(batch, iteration, detailed)
        association = self.networks.association
        if association is not None:
            record |= self._update_association(association, batch, detailed)
        return record | self._update_generator(association, batch, iteration, detailed)

    def _update_discriminator(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        n = self.networks
        n.generator.train()
        # G's train-mode pass of this iteration is the one in its own update
        with torch.no_grad(), _kept_buffers(n.generator):
            fake = n.generator(batch.x_l)
        loss = discriminator_loss(n.discriminator(batch.x_h).logits, n.discriminator(fake).logits)
        record = {"loss/discriminator": loss.detach()}
        if self.config.dis_updates_discriminator and n.association is not None:
            n.association.phi.eval()
            with torch.no_grad():
                predicted = n.association.phi(n.critic.embed(fake)).f_d
            f_d = n.association.scaler(n.discriminator(fake).feature(n.feature))
            loss = loss + self._dis_weight(iteration) * distillation_loss(predicted, f_d)
        self.optimisers.discriminator.zero_grad()
        loss.backward()
        if detailed:
            record["gradient/discriminator"] = gradient_norm(n.discriminator)
        self.optimisers.discriminator.step()
        n.update_average()
        return record

    def _update_association(self, association: Association, batch: Batch, detailed: bool) -> Record:
        n = self.networks
        assert self.optimisers.association is not None
        with torch.no_grad():
            raw_f_d = self._discriminator_feature(batch.x_h)
            association.scaler.observe(raw_f_d)
            f_d = association.scaler(raw_f_d)
            association.phi.eval()
            dis_hr = distillation_loss(association.phi(n.critic.embed(batch.x_h)).f_d, f_d)
            variance = f_d.var(dim=0, unbiased=False).mean()
            r2 = 1.0 - dis_hr / variance
            association.health.observe(r2)
        association.phi.train()
        association.sigma.train()
        for _ in range(self.config.updates_per_iteration):
            with torch.no_grad():
                f_c = n.critic.embed(batch.x_h)
            predicted, f_e = association.phi(f_c)
            l_intact = association_loss(predicted, f_d)
            l_e = bridge_loss(association.sigma(f_d), f_e)
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
            modules = nn.ModuleList([association.phi, association.sigma])
            record["gradient/association"] = gradient_norm(modules)
        return record

    def _update_generator(
        self, association: Association | None, batch: Batch, iteration: int, detailed: bool
    ) -> Record:
        n = self.networks
        n.generator.train()
        frozen = [n.discriminator] if association is None else [n.discriminator, association.phi]
        with _frozen(*frozen):
            fake = n.generator(batch.x_l)
            content = content_loss(batch.x_h, fake)
            adversarial = generator_adversarial_loss(n.discriminator(fake).logits, self.loss.adversarial)
            identity = identity_loss(n.critic.classify(n.critic.embed(fake)), batch.label)
            loss = super_resolution_loss(
                content, adversarial, identity, self.loss.lambda_g, self.loss.lambda_c
            )
            terms = {
                "mse": content,
                "gan": self.loss.lambda_g * adversarial,
                "id": self.loss.lambda_c * identity,
            }
            record = {
                "loss/mse": content.detach(),
                "loss/gan": adversarial.detach(),
                "loss/id": identity.detach(),
            }
            if association is not None:
                association.phi.eval()
                predicted = association.phi(n.critic.embed(fake)).f_d
                dis = distillation_loss(predicted, association.scaler(self._discriminator_feature(fake)))
                weight = self._dis_weight(iteration)
                terms["dis"] = weight * dis
                loss = loss + terms["dis"]
                record |= {"loss/dis_sr": dis.detach(), "association/weight": weight}
            record["loss/generator"] = loss.detach()
            if detailed:
                for name, term in terms.items():
                    (gradient,) = torch.autograd.grad(term, fake, retain_graph=True)
                    record[f"gradient/fake_{name}"] = gradient.norm()
            self.optimisers.generator.zero_grad()
            loss.backward()
        if detailed:
            record["gradient/generator"] = gradient_norm(n.generator)
        self.optimisers.generator.step()
        n.update_generator_average()
        return record

    def state(self) -> dict[str, Any]:
        """Nothing but the networks and optimisers carries over."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from `state`."""

    def _discriminator_feature(self, images: Tensor) -> Tensor:
        n = self.networks
        discriminator = n.discriminator if n.discriminator_ema is None else n.discriminator_ema
        return discriminator(images).feature(n.feature)

    def _dis_weight(self, iteration: int) -> Tensor:
        assert self.networks.association is not None
        return self.loss.lambda_dis * self.networks.association.health.weight(iteration)
