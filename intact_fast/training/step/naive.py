"""Algorithm 1 as the paper has it: the page that explains the method, and the reference of the faster steps.

An iteration updates D, then φ and σ, then G. Each update computes anew what it needs, in float32. C is the frozen
re-id network, f_c its feature, f_d a feature of D, φ the association network, σ its bridge. `shared` computes the same
with fewer passes. `association` has φ's losses and the variants of the paper's tables, which tests hold against the
equations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.losses import (
    content_loss,
    discriminator_loss,
    generator_adversarial_loss,
    identity_loss,
    super_resolution_loss,
)
from intact_fast.training.step.association import Association
from intact_fast.training.step.feature_term import feature_term, look, needs_map
from intact_fast.training.step.freezing import frozen, kept_buffers
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.measures import gradients_at, variety
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import Optimisers, update


class NaiveStep:
    """One iteration (`Step`) of one process.

    Args:
        networks: G, D, C and the association.
        optimisers: Their optimisers.
        config: Weights of the losses.
    """

    def __init__(self, networks: Networks, optimisers: Optimisers, config: Config) -> None:
        self.networks, self.optimisers, self.weights = networks, optimisers, config.loss
        self.query = config.critic.query

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on HR pictures x_h, their LR form x_l and their labels."""
        record: Record = {}
        if self.networks.uses_discriminator:
            record |= self._update_d(batch, iteration, detailed)
        if self.networks.association is not None:
            record |= self._update_phi(self.networks.association, batch, detailed)
        return record | self._update_g(batch, iteration, detailed)  # and C_q, where there is one

    def _update_d(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Train D to tell x_h from G(x_l)."""
        n, association = self.networks, self.networks.association
        # G's train-mode pass of this iteration is the one in its own update
        with torch.no_grad(), kept_buffers(n.generator.train()):
            fake = n.generator(batch.x_l)
        condition = self._condition(batch)
        real_logits, fake_logits = (n.discriminator(x, condition).logits for x in (batch.x_h, fake))
        loss = discriminator_loss(real_logits, fake_logits)  # Eq. 1 and 2
        right = (real_logits > 0).float().mean() / 2 + (fake_logits < 0).float().mean() / 2
        record = {"loss/discriminator": loss.detach(), "discriminator/accuracy": right}
        if association is not None and association.updates_discriminator:  # section 3.2, not Algorithm 1
            f_c, f_d = n.critic_of_queries.embed(fake).detach(), association.f_d(n.discriminator(fake))
            loss = loss + association.weight(iteration) * association.l_dis_for_discriminator(f_c, f_d)
        record |= update(self.optimisers["discriminator"], loss, "discriminator", n.discriminator, detailed)
        n.update_discriminator_average()
        return record

    def _update_phi(self, association: Association, batch: Batch, detailed: bool) -> Record:
        """Train φ to predict f_d(x_h) from f_c(x_h), and σ to map f_d(x_h) to φ's latent f_e."""
        n = self.networks
        with torch.no_grad():
            hr = association.observe_hr(n.critic.embed(batch.x_h), n.target_discriminator(batch.x_h))
        association.train()
        for _ in range(association.updates):
            losses = association(n.critic.embed(batch.x_h), hr.f_d)  # Eq. 5 and 6
            norm = update(self.optimisers["association"], losses.total, "association", association, detailed)  # Eq. 7
        return association.record(hr, losses) | norm

    def _update_g(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Train G towards x_h, and to please the frozen D, C and φ."""
        n, association, weights = self.networks, self.networks.association, self.weights
        critic, with_map = n.critic_of_queries, needs_map(weights)
        fake = n.generator.train()(batch.x_l)
        seen = look(critic, fake, with_map)
        l_mse = content_loss(batch.x_h, fake)  # section 3.1
        l_id = identity_loss(critic.classify(seen.f_c), batch.label)  # Eq. 3
        loss, terms = l_mse + weights.lambda_c * l_id, {"mse": l_mse, "id": weights.lambda_c * l_id}
        record = {"loss/mse": l_mse.detach(), "loss/id": l_id.detach()}
        if n.uses_discriminator:
            with frozen(n.discriminator):
                fake_logits = n.discriminator(fake, self._condition(batch)).logits
                l_gan = generator_adversarial_loss(fake_logits, weights.adversarial)  # Eq. 1 and 2
            terms["gan"] = weights.lambda_g * l_gan
            loss = super_resolution_loss(l_mse, l_gan, l_id, weights.lambda_g, weights.lambda_c)  # Eq. 4
            record["loss/gan"] = l_gan.detach()
        if weights.lambda_f != 0:
            with torch.no_grad():
                hr = look(n.critic, batch.x_h, with_map)
            l_f = feature_term(weights.feature, seen, hr)  # not in the paper
            terms["feature"] = weights.lambda_f * l_f
            loss, record["loss/feature"] = loss + terms["feature"], l_f.detach()
        if association is not None:
            f_d = association.f_d(n.target_discriminator(fake))
            l_dis, weight = association.l_dis_for_generator(seen.f_c, f_d), association.weight(iteration)  # Eq. 8
            terms["dis"] = weight * association.health.acting(l_dis)
            loss = loss + terms["dis"]  # Algorithm 1
            record |= {"loss/dis_sr": l_dis.detach(), "association/weight": weight}
        record["loss/generator"] = loss.detach()
        if detailed and fake.requires_grad:
            record |= {"generator/variety": variety(fake, batch.x_h), **gradients_at(fake, terms)}
        optimiser = self.optimisers["generator"]
        optimiser.zero_grad()
        loss.backward()
        if detailed:
            record |= n.query_side_gradients()
        n.take_turns(self.query, iteration)
        optimiser.step()
        n.update_serving_averages()
        return record

    def _condition(self, batch: Batch) -> Tensor | None:
        """What a projection discriminator is told of each picture; not in the paper."""
        if not self.networks.conditions_discriminator:
            return None
        with torch.no_grad():
            return self.networks.condition(self.networks.critic.embed(batch.x_h))

    def state(self) -> dict[str, Any]:
        """Give nothing: networks and optimisers are all that carries over."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from `state`."""
