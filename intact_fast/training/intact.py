"""The alternating training of G, D, φ and σ as a task for the loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.models import OSNet
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.association import AssociationHealth
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import LearningRates, build_optimisers
from intact_fast.training.step.plan import StepPlan


class IntactTask:
    """Algorithm 1, for `TrainingLoop`.

    Args:
        config: The whole configuration.
        critic: The trained critic; frozen here.
        process: For DDP and the device.
        plan: How iterations run.
        pictures: Training pictures, for the table of f_c; None leaves the table out.

    Raises:
        UserError: The input size does not fit G.
    """

    name = "INTACT"
    remedy = (
        "lower --optimiser.generator-learning-rate and --optimiser.discriminator-learning-rate, or use "
        "--training.precision fp32"
    )

    def __init__(
        self, config: Config, critic: OSNet, process: Process, plan: StepPlan, pictures: int | None = None
    ) -> None:
        self.iterations = config.training.iterations
        self._config = config
        self.plan = plan
        self.precision = plan.precision.value
        config = replace(config, training=replace(config.training, kernels=plan.kernels.value))
        self.networks = Networks(config, critic, process.device, plan.sync_bn.value)
        self._optimisers = build_optimisers(self.networks, config.optimiser, capturable=plan.graphed.value)
        optimiser = self._optimisers["generator"]
        self._rates = LearningRates(optimiser, config.optimiser.schedule, config.training.iterations)
        self.run_step = plan.build(self.networks, self._optimisers, config, process, pictures)

    @property
    def module(self) -> nn.Module:
        """What the checkpoint's per-process buffers belong to."""
        return self.networks

    def step(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch."""
        self._rates.set(iteration)
        return self.run_step(batch, iteration, detailed)

    def state(self) -> dict[str, Any]:
        """Everything that an unbroken training would carry on with."""
        optimisers = {name: o.state_dict() for name, o in self._optimisers.items()}
        step = self.run_step.state()
        return {"networks": self.networks.state_dict(), "optimisers": optimisers, "step": step}

    def _refuse_another_critic(self, networks: dict[str, torch.Tensor]) -> None:
        """See that C is still what a checkpoint's networks were trained with: its file may have been replaced."""
        for name, mine in self.networks.critic.state_dict().items():
            theirs = networks.get(f"critic.{name}")
            # another architecture is told by loading it
            if theirs is not None and mine.shape == theirs.shape and not torch.equal(mine.cpu(), theirs.cpu()):
                given = self._config.critic.checkpoint
                file = "the run's critic.pt" if given is None else f"--critic.checkpoint {given}"
                raise UserError(
                    f"{file}: another C than this run was started with; put that one back, or use another --name"
                )

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from :meth:`state`.

        Raises:
            UserError: It was trained with another C.
        """
        self._refuse_another_critic(state["networks"])
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
            # the checkpoint may be of a run that replayed no graphs, or the other way round
            for group in optimiser.param_groups:
                if "capturable" in group:  # apex's Adam has it elsewhere
                    group["capturable"] = self.plan.graphed.value
        self.run_step.load_state(state["step"])


def describe_training(health: AssociationHealth | None, lambda_dis: float, iteration: int) -> str:
    """Say how far a training is and how much φ has learned: an association that explains nothing cannot help.

    Args:
        health: Of φ; None in a training without it.
        lambda_dis: Weight of the association term.
        iteration: How many are done.
    """
    if health is None:
        return f"after {iteration} iterations, the association left out (--loss.lambda-dis 0)"
    r2, weight = float(health.r2), lambda_dis * float(health.weight(iteration))
    text = (
        f"after {iteration} iterations φ explained R² = {r2:.2f} of f_d on HR pictures, and L_dis had the weight "
        f"{weight:.2f}"
    )
    if weight == 0:
        return text + ": it did not act"
    return text + ": it only matched mean features" if r2 <= 0 else text
