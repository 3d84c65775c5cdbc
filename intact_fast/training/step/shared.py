"""The three updates of Algorithm 1, with the forward passes that they can share.

G does not change between the updates of D and φ. So ``fake = G(x_l)`` is computed once with its graph: D sees it
detached, and G's own update goes on from it. `naive` is the plain form that this one is tested against.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.association import Association
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.feature_term import Seen, needs_map
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.measures import gradient_norm, gradients_at, variety
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.objectives import (
    AssociationTargets,
    Autocast,
    CriticFeatures,
    DiscriminatorObjective,
    GeneratorForward,
    GeneratorObjective,
    GeneratorTerms,
)
from intact_fast.training.step.optimisers import Optimisers, Updater


class SharedStep:
    """One iteration with shared forward passes.

    Args:
        networks: All networks.
        optimisers: Their optimisers.
        config: Weights and forms of the losses.
        process: For wrapping the trainable networks in DDP.
        autocast: Type of G, D and C; None for float32. φ, σ and the losses are always float32.
        compiled: Compile each role into one graph.
        table: Where f_c of HR pictures is looked up; None computes it every time.
    """

    def __init__(
        self,
        networks: Networks,
        optimisers: Optimisers,
        config: Config,
        process: Process,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
        table: FeatureTable | None = None,
    ) -> None:
        self._table = table
        self._process = process
        self._query = config.critic.query
        self.networks = networks
        self._weights = config.loss
        self._autocast = Autocast(process.device, autocast)

        scaled = autocast == torch.float16
        self.updaters = {
            # φ, σ and their losses are float32
            role: Updater(optimiser, scaled and role != "association", process.device)
            for role, optimiser in optimisers.items()
        }

        def graph(module: nn.Module) -> nn.Module:
            return torch.compile(module, fullgraph=True, dynamic=False) if compiled else module  # type: ignore[return-value]

        self.generator = process.parallel(graph(GeneratorForward(networks.generator, self._autocast)))
        self.discriminator_objective = process.parallel(
            graph(DiscriminatorObjective(networks.discriminator, self._autocast))
        )
        self._plain_generator_objective = GeneratorObjective(networks, config.loss, self._autocast)
        self.generator_objective = graph(self._plain_generator_objective)
        self._needs_hr = (
            networks.association is not None or config.loss.lambda_f != 0 or networks.conditions_discriminator
        )
        if self._needs_hr:
            self.critic_features = graph(CriticFeatures(networks.critic, self._autocast, needs_map(config.loss)))
        if networks.association is not None:
            self.association_losses = process.parallel(graph(networks.association))
            self.association_targets = graph(AssociationTargets(networks, networks.association, self._autocast))

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch; see `Step`."""
        assert batch.x_l is not None
        self.networks.generator.train()
        fake = self.generator(batch.x_l)
        hr = self._look_at_hr(batch) if self._needs_hr else None
        record: Record = {}
        if self.networks.uses_discriminator:
            condition = None if hr is None else self.networks.condition(hr.f_c)
            record |= self._update_discriminator(batch.x_h, fake.detach(), condition, iteration, detailed)
        if self.networks.association is not None:
            assert hr is not None
            record |= self._update_association(self.networks.association, batch, hr.f_c, detailed)
        record |= self._update_generator(batch, fake, hr, iteration, detailed)
        return record

    def graph_key(self, batch: Batch, iteration: int) -> tuple[bool, bool, bool]:
        """What the host decides in an iteration; those that agree in it launch the same kernels on the same tensors."""
        association = self.networks.association
        in_warmup = association is not None and iteration < association.health.warmup
        knows = self._table is not None and self._table.knows(batch)
        return in_warmup, knows, self._query == "alternating" and iteration % 2 == 1

    def note_replayed(self, batch: Batch) -> None:
        """Keep for the host what a replayed iteration did on the device alone."""
        if self._table is not None and self._needs_hr:
            self._table.remember(batch)

    def _look_at_hr(self, batch: Batch) -> Seen:
        """What C sees of the HR pictures, from the table where there is one."""
        if self._table is None:
            return self.critic_features(batch.x_h)
        return Seen(self._table.features(batch, lambda x_h: self.critic_features(x_h).f_c), None)

    def _dis_weight(self, iteration: int) -> Tensor | None:
        association = self.networks.association
        return None if association is None else association.weight(iteration)

    def _update_discriminator(
        self, x_h: Tensor, fake: Tensor, condition: Tensor | None, iteration: int, detailed: bool
    ) -> Record:
        networks, association = self.networks, self.networks.association
        loss, right, fake_output = self.discriminator_objective(x_h, fake, condition)
        record = {"loss/discriminator": loss.detach(), "discriminator/accuracy": right}
        if association is not None and association.updates_discriminator:
            with torch.no_grad(), self._autocast():
                f_c = networks.critic_of_queries.embed(fake)
            dis = association.l_dis_for_discriminator(f_c.float(), association.f_d(fake_output))
            loss = loss + association.weight(iteration) * dis
        updater = self.updaters["discriminator"]
        updater.backward(loss, detailed)
        if detailed:
            record["gradient/discriminator"] = gradient_norm(networks.discriminator)
        updater.step()
        networks.update_discriminator_average()
        return record

    def _update_association(self, association: Association, batch: Batch, f_c: Tensor, detailed: bool) -> Record:
        hr = self.association_targets(batch.x_h, f_c)
        association.train()
        updater = self.updaters["association"]
        for _ in range(association.updates):
            losses = self.association_losses(f_c, hr.f_d)
            updater.backward(losses.total)
            updater.step()
        record = association.record(hr, losses)
        if detailed:
            record["gradient/association"] = gradient_norm(association)
        return record

    def _update_generator(self, batch: Batch, fake: Tensor, hr: Seen | None, iteration: int, detailed: bool) -> Record:
        # a compiled graph frees in its first backward pass what the gradient norms would need again
        objective = self._plain_generator_objective if detailed else self.generator_objective
        weight = self._dis_weight(iteration)
        terms = objective(batch.x_h, fake, batch.label, weight, hr)
        record = {
            "loss/mse": terms.content.detach(),
            "loss/id": terms.identity.detach(),
        }
        if terms.feature is not None:
            record["loss/feature"] = terms.feature.detach()
        if terms.adversarial is not None:
            record["loss/gan"] = terms.adversarial.detach()
        if weight is not None and terms.distillation is not None:
            record |= {"loss/dis_sr": terms.distillation.detach(), "association/weight": weight}
        record["loss/generator"] = terms.loss.detach()
        if detailed and fake.requires_grad:
            record |= {
                "generator/variety": variety(fake, batch.x_h),
                **gradients_at(fake, self._weighted(terms, weight)),
            }
        updater = self.updaters["generator"]
        updater.backward(terms.loss, detailed)
        self._process.average_gradients(self.networks.query_critic)
        if detailed:
            record |= self.networks.query_side_gradients()
        self.networks.take_turns(self._query, iteration)
        updater.step()
        self.networks.update_serving_averages()
        return record

    def _weighted(self, terms: GeneratorTerms, weight: Tensor | None) -> dict[str, Tensor]:
        """The terms as they enter G's loss."""
        weighted = {"mse": terms.content, "id": self._weights.lambda_c * terms.identity}
        if terms.adversarial is not None:
            weighted["gan"] = self._weights.lambda_g * terms.adversarial
        if terms.feature is not None:
            weighted["feature"] = self._weights.lambda_f * terms.feature
        association = self.networks.association
        if association is not None and weight is not None and terms.distillation is not None:
            weighted["dis"] = weight * association.health.acting(terms.distillation)
        return weighted

    def state(self) -> dict[str, Any]:
        """What the step itself carries from one iteration to the next: the loss scales."""
        return {name: updater.scaler.state_dict() for name, updater in self.updaters.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from `state`."""
        for name, updater in self.updaters.items():
            updater.scaler.load_state_dict(state[name])
