"""The optimisers of G, D and the association (section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from intact_fast.config import OptimiserConfig
from intact_fast.training.networks import Networks


@dataclass(frozen=True)
class Optimisers:
    """One Adam per update of Algorithm 1; ``association`` is None when L_dis has no weight."""

    generator: Optimizer
    discriminator: Optimizer
    association: Optimizer | None

    def named(self) -> dict[str, Optimizer]:
        """The optimisers that exist, by name."""
        every = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "association": self.association,
        }
        return {name: optimiser for name, optimiser in every.items() if optimiser is not None}


def build_optimisers(networks: Networks, config: OptimiserConfig) -> Optimisers:
    """Build fused Adam for every trainable network."""

    def adam(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        return Adam(parameters, lr=lr, betas=config.betas, fused=True)

    association = networks.association
    return Optimisers(
        adam(networks.generator.parameters(), config.lr_generator),
        adam(networks.discriminator.parameters(), config.lr_discriminator),
        None if association is None else adam(association.parameters(), config.lr_association),
    )


def gradient_norm(module: nn.Module) -> torch.Tensor:
    """L2 norm over all gradients of a module, a device scalar."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
