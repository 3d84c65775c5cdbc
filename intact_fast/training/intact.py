"""The alternating training of G, D, φ and σ as a task for the loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from intact_fast.config.options import Config, TrainingConfig
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.kernels import FASTER, Kernels
from intact_fast.models import OSNet
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.graphed import CudaRecorder, GraphedStep
from intact_fast.training.step.naive import NaiveStep
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import build_optimisers
from intact_fast.training.step.shared import Record, SharedStep, Step


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Resolve ``training.precision``: bf16 on CUDA unless told otherwise, else float32 (None)."""
    if precision == "fp16":
        return torch.float16
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.bfloat16
    return None


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware; without that it is emulated, and many times slower than float32."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def compiles(training: TrainingConfig, device: torch.device) -> bool:
    """Resolve ``training.compile``: on CUDA unless told otherwise, or batch statistics are synchronised."""
    return training.compile == "on" or (training.compile == "auto" and device.type == "cuda" and not training.sync_bn)


def replays(training: TrainingConfig, process: Process) -> bool:
    """Resolve ``training.cuda_graph``: for one process on CUDA unless told otherwise."""
    possible = process.device.type == "cuda" and process.world_size == 1 and training.step == "shared"
    return training.cuda_graph == "on" or (training.cuda_graph == "auto" and possible)


def fused_operators(training: TrainingConfig, process: Process) -> Kernels:
    """Resolve ``training.kernels``, which `auto` leaves to the form in which an iteration is launched.

    Launched one by one by Python, fused operators cost the host more than they save. In CUDA graphs each is faster than
    PyTorch's own operators, but not each than Inductor's code for it (``benchmarks/records``, ladder and operators).
    """
    if training.kernels != "auto":
        return training.kernels
    if not replays(training, process):
        return "torch"
    return "auto" if compiles(training, process.device) else "triton"


def synchronises(config: Config, process: Process) -> bool:
    """Whether batch statistics are those of several processes."""
    return config.training.sync_bn and process.world_size > 1


def _check(config: Config, process: Process) -> None:
    """Raise UserError for options of the step that exclude each other or do not fit the processes."""
    training, device = config.training, process.device.type
    if training.step == "naive" and (
        process.world_size > 1
        or training.precision in ("bf16", "fp16")
        or training.compile == "on"
        or training.cuda_graph == "on"
    ):
        raise UserError("--training.step naive is the plain float32 reference for one process; use shared")
    if training.sync_bn and device != "cuda":
        raise UserError(f"--training.sync-bn: PyTorch has it on GPUs only, training runs on the {device}; leave it out")
    if training.sync_bn and training.compile == "on":
        raise UserError("--training.sync-bn is no part of a compiled graph; use --training.compile off")
    if training.cuda_graph == "on" and device != "cuda":
        raise UserError(f"--training.cuda-graph on: it needs a GPU, training runs on the {device}; leave it out")
    if training.cuda_graph == "on" and process.world_size > 1:
        raise UserError(f"--training.cuda-graph on captures one process, there are {process.world_size}; leave it out")


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
        _check(config, process)
        self._world_size = process.world_size
        graphed = self._graphed = replays(config.training, process)
        self._kernels = fused_operators(config.training, process)
        config = replace(config, training=replace(config.training, kernels=self._kernels))
        self.networks = Networks(config, critic, process.device, synchronises(config, process))
        self._optimisers = build_optimisers(self.networks, config.optimiser, capturable=graphed)
        self.step_form: Step
        if config.training.step == "naive":
            self.step_form = NaiveStep(self.networks, self._optimisers, config)
        else:
            compiled = compiles(config.training, process.device)
            table = None
            if config.training.f_c_table and pictures is not None:
                table = FeatureTable(pictures, critic.feature_dim, process.device)
            step = SharedStep(self.networks, self._optimisers, config, process, autocast, compiled, table)
            self.step_form = GraphedStep(step, CudaRecorder(process.device)) if graphed else step

    def describe(self) -> str:
        """Which of the options that make training fast are active, in one line, and why one is not."""
        training, device = self._config.training, next(self.networks.parameters()).device
        if training.step == "naive":
            return "step: naive reference form, float32, nothing shared or compiled"
        parts = ["shared forward passes"]
        dtype = autocast_type(training.precision, device)
        name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        emulated = dtype is not None and not computes_bfloat16(device)
        parts.append(name + (" (emulated on this processor: slower than float32)" if emulated else ""))
        if compiles(training, device):
            parts.append("compiled")
        elif training.compile == "off":
            parts.append("not compiled (--training.compile off)")
        else:
            parts.append(f"not compiled ({'--training.sync-bn' if training.sync_bn else 'slower on a CPU'})")
        if self._graphed:
            parts.append("CUDA graphs")
        else:
            reason = "--training.cuda-graph off" if training.cuda_graph == "off" else "one process on a GPU alone"
            parts.append(f"no CUDA graphs ({reason})")
        if training.sync_bn:
            alone = self._world_size == 1
            parts.append("no SyncBN (one process)" if alone else "SyncBN (its layers are not fused)")
        if self._kernels == "triton":
            parts.append("fused operators" + ("" if device.type == "cuda" else " (their PyTorch form, on a CPU)"))
        elif self._kernels == "auto":
            parts.append(f"fused operators {', '.join(sorted(FASTER))}")
        else:
            reason = "faster in CUDA graphs alone" if training.kernels == "auto" else "--training.kernels torch"
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
        for name, optimiser in self._optimisers.named().items():
            optimiser.load_state_dict(state["optimisers"][name])
            # the checkpoint may be of a run that replayed no graphs, or the other way round
            for group in optimiser.param_groups:
                if "capturable" in group:  # apex's Adam has it elsewhere
                    group["capturable"] = self._graphed
        self.step_form.load_state(state["step"])
