"""The optimisers of G, D and the association (section 4.3)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from intact_fast.config.options import OptimiserConfig
from intact_fast.errors import UserError
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.networks import Networks

Role = Literal["generator", "discriminator", "association"]
"""What an update of Algorithm 1 trains."""

Optimisers = dict[Role, Optimizer]
"""One Adam per update of Algorithm 1; without ``association`` when L_dis has no weight."""


def build_optimisers(networks: Networks, config: OptimiserConfig, capturable: bool = False) -> Optimisers:
    """Build fused Adam for every trainable network.

    Args:
        networks: What to train.
        config: Rates and implementation.
        capturable: Whether CUDA graphs may hold their steps.

    Raises:
        UserError: apex was asked for and is not there, or the networks are not on a GPU.
    """
    if config.backend == "apex":
        device = next(networks.parameters()).device
        if device.type != "cuda":
            raise UserError(f"--optimiser.backend apex: it needs a GPU, training runs on the {device.type}")
        # apex's own default is AdamW
        fused: Callable[..., Optimizer] = partial(_apex_adam(), adam_w_mode=False)
    else:
        fused = partial(Adam, fused=True)

    def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        return fused(parameters, lr=learning_rate, betas=config.betas, capturable=capturable)

    optimisers: Optimisers = {
        "generator": adam(networks.generator.parameters(), config.generator_learning_rate),
        "discriminator": adam(networks.discriminator.parameters(), config.discriminator_learning_rate),
    }
    if networks.association is not None:
        optimisers["association"] = adam(networks.association.parameters(), config.association_learning_rate)
    return optimisers


def _apex_adam() -> Callable[..., Optimizer]:
    try:
        return importlib.import_module("apex.optimizers").FusedAdam
    except (ImportError, AttributeError) as error:
        raise UserError(
            "--optimiser.backend apex: NVIDIA's apex is not installed; build it from "
            "https://github.com/NVIDIA/apex (PyPI's apex is another project) or use --optimiser.backend torch"
        ) from error


class Updater:
    """Backward pass and step of one optimiser, with loss scaling where G, D and C run in float16.

    Skipping a step after an overflow and adapting the scale happen on the device: nothing waits for it.

    Args:
        optimiser: The optimiser.
        scaled: Whether to scale.
        device: Where it runs.
    """

    def __init__(self, optimiser: Optimizer, scaled: bool, device: torch.device) -> None:
        self.optimiser = optimiser
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def backward(self, loss: torch.Tensor, measured: bool = False) -> None:
        """Replace the gradients by those of ``loss``; ``measured`` leaves them unscaled for a look at them."""
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if measured:
            self.scaler.unscale_(self.optimiser)

    def step(self) -> None:
        """Update the parameters."""
        self.scaler.step(self.optimiser)
        self.scaler.update()


def update(optimiser: Optimizer, loss: torch.Tensor, role: Role, module: nn.Module, detailed: bool) -> Record:
    """Backward pass and step in plain float32.

    Args:
        optimiser: Of the module.
        loss: Scalar.
        role: Name for the record.
        module: What is trained.
        detailed: Record the length of its gradient.
    """
    optimiser.zero_grad()
    loss.backward()
    record = {f"gradient/{role}": gradient_norm(module)} if detailed else {}
    optimiser.step()
    return record


def gradient_norm(module: nn.Module) -> torch.Tensor:
    """L2 norm over all gradients of a module, a device scalar."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
