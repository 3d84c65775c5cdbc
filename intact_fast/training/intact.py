"""The alternating training of G, D, φ and σ as a task for the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from intact_fast.config import Config
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.kernels import FASTER
from intact_fast.models import OSNet
from intact_fast.training.distributed import Process
from intact_fast.training.feature_table import FeatureTable
from intact_fast.training.naive_steps import NaiveStep
from intact_fast.training.networks import Networks
from intact_fast.training.optimisers import build_optimisers
from intact_fast.training.steps import Record, SharedStep, Step


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Resolve ``training.precision``: bf16 on CUDA unless told otherwise, else float32 (None)."""
    if precision == "fp16":
        return torch.float16
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.bfloat16
    return None


def compiles(choice: str, device: torch.device) -> bool:
    """Resolve ``training.compile``: on CUDA unless told otherwise."""
    return choice == "on" or (choice == "auto" and device.type == "cuda")


class IntactTask:
    """Algorithm 1, for :func:`run_task`.

    Args:
        config: The whole configuration.
        critic: The trained critic; frozen here.
        process: For DDP and the device.
        pictures: Training pictures, for the table of f_c; None leaves the table out.

    Raises:
        UserError: The input size does not fit G, or options exclude each other.
    """

    name = "INTACT"

    def __init__(self, config: Config, critic: OSNet, process: Process, pictures: int | None = None) -> None:
        self.iterations = config.training.iterations
        self._config = config
        autocast = autocast_type(config.training.precision, process.device)
        self.networks = Networks(config, critic, process.device)
        self._optimisers = build_optimisers(self.networks, config.optimiser)
        self.step_form: Step
        if config.training.form == "naive":
            training = config.training
            if process.world_size > 1 or training.precision in ("bf16", "fp16") or training.compile == "on":
                raise UserError(
                    "--training.form naive is the plain float32 reference for one process; use shared"
                )
            self.step_form = NaiveStep(self.networks, self._optimisers, config)
        else:
            compiled = compiles(config.training.compile, process.device)
            table = None
            if config.training.f_c_table and pictures is not None:
                table = FeatureTable(pictures, critic.feature_dim, process.device)
            self.step_form = SharedStep(
                self.networks, self._optimisers, config, process, autocast, compiled, table
            )

    def describe(self) -> str:
        """Which of the options that make training fast are active, in one line, and why one is not."""
        training, device = self._config.training, next(self.networks.parameters()).device
        if training.form == "naive":
            return "step: naive reference form, float32, nothing shared or compiled"
        parts = ["shared forward passes"]
        dtype = autocast_type(training.precision, device)
        parts.append("float32" if dtype is None else str(dtype).removeprefix("torch."))
        if compiles(training.compile, device):
            parts.append("compiled")
        else:
            parts.append("not compiled" + (" (slower on a CPU)" if training.compile == "auto" else ""))
        if training.kernels == "triton":
            parts.append(
                "fused operators" + ("" if device.type == "cuda" else " (their PyTorch form, on a CPU)")
            )
        elif training.kernels == "auto" and FASTER and device.type == "cuda":
            parts.append(f"fused operators {', '.join(sorted(FASTER))}")
        else:
            reason = "none measured faster here" if training.kernels == "auto" else "--training.kernels torch"
            parts.append(f"no fused operators ({reason})")
        if training.f_c_table:
            parts.append("table of f_c")
        parts.append(f"Adam of {self._config.optimiser.backend}")
        if self.networks.generator_ema is not None:
            parts.append("averaged G")
        return "step: " + ", ".join(parts)

    @property
    def module(self) -> nn.Module:
        """What the checkpoint's per-process buffers belong to."""
        return self.networks

    def step(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch."""
        return self.step_form(batch, iteration, detailed)

    def state(self) -> dict[str, Any]:
        """Everything that an unbroken training would carry on with."""
        optimisers = {name: o.state_dict() for name, o in self._optimisers.named().items()}
        step = self.step_form.state()
        return {"networks": self.networks.state_dict(), "optimisers": optimisers, "step": step}

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from :meth:`state`."""
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self._optimisers.named().items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.step_form.load_state(state["step"])
