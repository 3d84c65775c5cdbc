"""The optimisers of G, D and the association (section 4.3)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from intact_fast.config.options import OptimiserConfig
from intact_fast.errors import UserError
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.measures import gradient_norm
from intact_fast.training.step.networks import Networks

Role = Literal["generator", "discriminator", "association"]
"""What an update of Algorithm 1 trains."""

Optimisers = dict[Role, Optimizer]
"""One Adam per update of Algorithm 1; C_q is trained by G's. Without ``association`` when L_dis has no weight."""


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

    def adam(parameters: Iterable[Any], learning_rate: float) -> Optimizer:
        return fused(parameters, lr=learning_rate, betas=config.betas, capturable=capturable)

    optimisers: Optimisers = {
        "generator": adam(_query_side(networks, config), config.generator_learning_rate),
        "discriminator": adam(networks.discriminator.parameters(), config.discriminator_learning_rate),
    }
    if networks.association is not None:
        optimisers["association"] = adam(networks.association.parameters(), config.association_learning_rate)
    return optimisers


def _query_side(networks: Networks, config: OptimiserConfig) -> list[dict[str, Any]]:
    """G and C_q, each with its learning rate: one loss trains both."""
    groups: list[tuple[nn.Module, float]] = [(networks.generator, config.generator_learning_rate)]
    if networks.query_critic is not None:
        groups.append((networks.query_critic, config.query_critic_learning_rate))
    trained = [([p for p in network.parameters() if p.requires_grad], rate) for network, rate in groups]
    return [{"params": parameters, "lr": rate} for parameters, rate in trained if parameters]


class LearningRates:
    """The learning rates of G and C_q over a training; those of D and the association are constant.

    Args:
        optimiser: Of G and C_q.
        schedule: How they go down.
        iterations: Of the whole training.
    """

    def __init__(self, optimiser: Optimizer, schedule: Literal["constant", "cosine"], iterations: int) -> None:
        self._optimiser, self._schedule, self._iterations = optimiser, schedule, iterations
        self._first = [float(group["lr"]) for group in optimiser.param_groups]

    def set(self, iteration: int) -> None:
        """Set the rates of an iteration, which a training that goes on finds by its number alone."""
        if self._schedule == "constant":
            return
        share = (1 + math.cos(math.pi * iteration / self._iterations)) / 2
        for group, first in zip(self._optimiser.param_groups, self._first, strict=True):
            if not group.get("capturable", False):
                group["lr"] = first * share
                continue
            # a CUDA graph reads its rate from where it was captured
            if not isinstance(group["lr"], torch.Tensor):
                group["lr"] = torch.tensor(first, device=group["params"][0].device)
            group["lr"].fill_(first * share)


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
