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

from intact_fast.config.options import Config
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
from intact_fast.training.diagnostics import gradients_at, variety
from intact_fast.training.step.networks import Association, Networks
from intact_fast.training.step.optimisers import Optimisers, gradient_norm
from intact_fast.training.step.shared import Record


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
        record: Record = {}
        if self.networks.uses_discriminator:
            record |= self._update_discriminator(batch, iteration, detailed)
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
        real_logits, fake_logits = n.discriminator(batch.x_h).logits, n.discriminator(fake).logits
        loss = discriminator_loss(real_logits, fake_logits)
        right = (real_logits > 0).float().mean() / 2 + (fake_logits < 0).float().mean() / 2
        record = {"loss/discriminator": loss.detach(), "discriminator/accuracy": right}
        if self.config.dis_updates_discriminator and n.association is not None:
            with torch.no_grad():
                f_c = n.critic.embed(fake)
            f_d = n.association.scaler(n.discriminator(fake).feature(n.feature))
            if self.config.predictor == "mean":
                dis = self._distance_to_mean(n.association, f_d)
            else:
                dis = self._distance(n.association, f_c, f_d)
            loss = loss + self._dis_weight(iteration) * dis
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
            f_c = n.critic.embed(batch.x_h)
            by_phi = self._distance(association, f_c, f_d)
            variance = self._variance(association, f_c, f_d)
            r2 = 1.0 - by_phi / variance
            if self.config.predictor == "mean":
                dis_hr = level = self._distance_to_mean(association, f_d)
            else:
                dis_hr, level = by_phi, torch.minimum(by_phi, 2.0 * variance)
            association.health.observe(r2, level)
        association.phi.train()
        if association.sigma is not None:
            association.sigma.train()
        for _ in range(self.config.updates_per_iteration):
            with torch.no_grad():
                f_c = n.critic.embed(batch.x_h)
            total, l_intact, l_e, f_e = self._association_losses(association, f_c, f_d)
            self.optimisers.association.zero_grad()
            total.backward()
            self.optimisers.association.step()
        record = {
            "loss/intact": l_intact.detach(),
            "loss/dis_hr": dis_hr,
            "association/r2": r2,
            **association.health.recorded(),
            "association/r2_fit": 1.0 - l_intact.detach() / variance,
            "association/std_f_e": f_e.detach().std(dim=0).mean(),
        }
        if l_e is not None:
            record["loss/e"] = l_e.detach()
        if detailed:
            modules = nn.ModuleList([m for m in (association.phi, association.sigma) if m is not None])
            record["gradient/association"] = gradient_norm(modules)
        return record

    def _update_generator(
        self, association: Association | None, batch: Batch, iteration: int, detailed: bool
    ) -> Record:
        n = self.networks
        n.generator.train()
        frozen: list[nn.Module] = [n.discriminator]
        if association is not None:
            frozen += [m for m in (association.phi, association.sigma) if m is not None]
        with _frozen(*frozen):
            fake = n.generator(batch.x_l)
            content = content_loss(batch.x_h, fake)
            identity = identity_loss(n.critic.classify(n.critic.embed(fake)), batch.label)
            terms = {"mse": content, "id": self.loss.lambda_c * identity}
            record = {"loss/mse": content.detach(), "loss/id": identity.detach()}
            if n.uses_discriminator:
                adversarial = generator_adversarial_loss(n.discriminator(fake).logits, self.loss.adversarial)
                loss = super_resolution_loss(content, adversarial, identity, self.loss.lambda_g, self.loss.lambda_c)
                terms["gan"] = self.loss.lambda_g * adversarial
                record["loss/gan"] = adversarial.detach()
            else:
                loss = content + self.loss.lambda_c * identity
            if association is not None:
                f_d = association.scaler(self._discriminator_feature(fake))
                if self.config.predictor == "mean":
                    dis = self._distance_to_mean(association, f_d)
                else:
                    f_c = n.critic.embed(fake)
                    f_c = f_c.detach() if self.config.dis_gradient == "f_d" else f_c
                    f_d = f_d.detach() if self.config.dis_gradient == "f_c" else f_d
                    dis = self._distance(association, f_c, f_d)
                weight = self._dis_weight(iteration)
                terms["dis"] = weight * association.health.acting(dis)
                loss = loss + terms["dis"]
                record |= {"loss/dis_sr": dis.detach(), "association/weight": weight}
            record["loss/generator"] = loss.detach()
            if detailed:
                record |= {"generator/variety": variety(fake, batch.x_h), **gradients_at(fake, terms)}
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

    def _distance(self, association: Association, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis by running statistics."""
        association.phi.eval()
        if self.config.direction == "common-space":
            assert association.sigma is not None
            return distillation_loss(association.phi(f_c), association.sigma.eval()(f_d))
        if self.config.direction == "d-to-r":
            return distillation_loss(association.phi(f_d).f_d, f_c)
        return distillation_loss(association.phi(f_c).f_d, f_d)

    def _distance_to_mean(self, association: Association, f_d: Tensor) -> Tensor:
        """The control's L_dis."""
        return distillation_loss(association.scaler(association.scaler.mean), f_d)

    def _variance(self, association: Association, f_c: Tensor, f_d: Tensor) -> Tensor:
        if self.config.direction == "common-space":
            assert association.sigma is not None
            codes = association.phi.eval()(f_c), association.sigma.eval()(f_d)
            return sum(code.var(dim=0, unbiased=False).mean() for code in codes)
        target = f_c if self.config.direction == "d-to-r" else f_d
        return target.var(dim=0, unbiased=False).mean()

    def _association_losses(
        self, association: Association, f_c: Tensor, f_d: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """The total, L_intact, L_e and f_e."""
        if self.config.direction == "common-space":
            assert association.sigma is not None
            f_e = association.phi(f_c)
            l_intact = distillation_loss(f_e, association.sigma(f_d))
            return l_intact, l_intact, None, f_e
        source, target = (f_d, f_c) if self.config.direction == "d-to-r" else (f_c, f_d)
        predicted, f_e = association.phi(source)
        l_intact = association_loss(predicted, target)
        if association.sigma is None:
            return l_intact, l_intact, None, f_e
        l_e = bridge_loss(association.sigma(target), f_e)
        return association_total_loss(l_intact, l_e), l_intact, l_e, f_e

    def _discriminator_feature(self, images: Tensor) -> Tensor:
        n = self.networks
        discriminator = n.discriminator if n.discriminator_ema is None else n.discriminator_ema
        return discriminator(images).feature(n.feature)

    def _dis_weight(self, iteration: int) -> Tensor:
        assert self.networks.association is not None
        return self.loss.lambda_dis * self.networks.association.health.weight(iteration)
