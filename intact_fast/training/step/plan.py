"""The plan of an iteration: every choice that makes it fast is made here, with its reason.

`plan_step` decides from configuration and machine, and refuses what cannot be. The plan builds the step, and gives the
line that a run prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from intact_fast.config.devices import computes_bfloat16
from intact_fast.config.options import Config, TrainingConfig
from intact_fast.errors import UserError
from intact_fast.kernels import FASTER, Kernels
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.graphed import CudaRecorder, GraphedStep
from intact_fast.training.step.iteration import Step
from intact_fast.training.step.naive import NaiveStep
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import Optimisers
from intact_fast.training.step.shared import SharedStep

T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One decision.

    Attributes:
        value: What was decided.
        words: The decision and its reason, as the line of a run has them.
    """

    value: T
    words: str


@dataclass(frozen=True)
class StepPlan:
    """Every decision about an iteration.

    Attributes:
        is_naive: Whether the plain reference runs; then nothing else applies.
        precision: Autocast type of G, D and C; None for float32.
        compiled: Whether each role is one compiled graph.
        graphed: Whether whole iterations are replayed as CUDA graphs.
        kernels: Fused operators of G, D, φ and σ.
        sync_bn: Whether batch statistics are those of all processes.
        has_table: Whether f_c of HR pictures is looked up.
        others: What else the line says.
    """

    is_naive: bool
    precision: Choice[torch.dtype | None]
    compiled: Choice[bool]
    graphed: Choice[bool]
    kernels: Choice[Kernels]
    sync_bn: Choice[bool]
    has_table: bool
    others: tuple[str, ...]

    def describe(self) -> str:
        """Say which of the options that make training fast are active, in one line, and why one is not."""
        if self.is_naive:
            return "step: naive reference form, float32, nothing shared or compiled"
        choices = (self.precision, self.compiled, self.graphed, self.sync_bn, self.kernels)
        words = ["shared forward passes", *(choice.words for choice in choices if choice.words), *self.others]
        return "step: " + ", ".join(words)

    def build(
        self, networks: Networks, optimisers: Optimisers, config: Config, process: Process, pictures: int | None
    ) -> Step:
        """Build the step.

        Args:
            networks: All networks, with these kernels.
            optimisers: Theirs.
            config: Weights and forms of the losses.
            process: For DDP and the device.
            pictures: Training pictures, for the table of f_c; None leaves the table out.
        """
        if self.is_naive:
            return NaiveStep(networks, optimisers, config)
        table = None
        if self.has_table and pictures is not None:
            table = FeatureTable(pictures, networks.critic.feature_dim, process.device)
        step = SharedStep(networks, optimisers, config, process, self.precision.value, self.compiled.value, table)
        return GraphedStep(step, CudaRecorder(process.device)) if self.graphed.value else step


def plan_step(config: Config, process: Process) -> StepPlan:
    """Decide how iterations run.

    Args:
        config: Whose ``training`` asks.
        process: Its device, and how many there are.

    Raises:
        UserError: Options exclude each other or do not fit the machine.
    """
    training = config.training
    _refuse(training, process)
    compiled = _compiled(training, process.device)
    graphed = _graphed(training, process)
    others = [
        *(["table of f_c"] if training.f_c_table else []),
        f"Adam of {config.optimiser.backend}",
        *({"paper": [], "light": ["light G"], "none": ["no G"]}[config.generator.arch]),
        *([f"C_q ({config.critic.query})"] if config.critic.query != "off" else []),
        *(["averaged G"] if config.generator.ema_decay is not None else []),
    ]
    return StepPlan(
        training.step == "naive",
        _precision(training, process.device),
        compiled,
        graphed,
        _kernels(training, process.device, compiled.value, graphed.value),
        _sync_bn(training, process),
        training.f_c_table,
        tuple(others),
    )


def _refuse(training: TrainingConfig, process: Process) -> None:
    device = process.device.type
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


def autocast_type(training: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """Autocast type that a training asks for: bf16 where the device computes it, unless told otherwise.

    None is float32, which also serves a GPU or a processor that emulates bfloat16.
    """
    if training.precision == "fp16":
        return torch.float16
    wants = training.precision == "auto" and computes_bfloat16(device)
    return torch.bfloat16 if wants or training.precision == "bf16" else None


def _precision(training: TrainingConfig, device: torch.device) -> Choice[torch.dtype | None]:
    dtype = autocast_type(training, device)
    if dtype is None:
        if training.precision != "auto":
            return Choice(None, "float32")
        if device.type == "cuda":
            return Choice(None, "float32 (this GPU emulates bfloat16; try --training.precision fp16)")
        return Choice(None, "float32 (this processor emulates bfloat16)")
    if training.precision == "auto" and device.type == "cpu":
        return Choice(dtype, "bfloat16 (this processor computes it)")
    emulated = "" if computes_bfloat16(device) else " (emulated on this processor: slower than float32)"
    return Choice(dtype, str(dtype).removeprefix("torch.") + emulated)


def _compiled(training: TrainingConfig, device: torch.device) -> Choice[bool]:
    """On CUDA unless told otherwise, or batch statistics are synchronised."""
    if training.compile == "on" or (training.compile == "auto" and device.type == "cuda" and not training.sync_bn):
        return Choice(True, "compiled")
    if training.compile == "off":
        return Choice(False, "not compiled (--training.compile off)")
    return Choice(False, f"not compiled ({'--training.sync-bn' if training.sync_bn else 'slower on a CPU'})")


def _graphed(training: TrainingConfig, process: Process) -> Choice[bool]:
    """For one process on CUDA unless told otherwise."""
    possible = process.device.type == "cuda" and process.world_size == 1 and training.step == "shared"
    if training.cuda_graph == "on" or (training.cuda_graph == "auto" and possible):
        return Choice(True, "CUDA graphs")
    off = training.cuda_graph == "off"
    return Choice(False, f"no CUDA graphs ({'--training.cuda-graph off' if off else 'one process on a GPU alone'})")


def _kernels(training: TrainingConfig, device: torch.device, compiled: bool, graphed: bool) -> Choice[Kernels]:
    """Leave `auto` to the way in which an iteration is launched.

    Launched one by one by Python, fused operators cost the host more than they save. In CUDA graphs those that were
    measured are faster than PyTorch's own operators, but not each is faster than Inductor's code
    (``benchmarks/records``: ladder, operators).
    """
    kernels: Kernels = training.kernels
    if training.step == "naive":
        return Choice("torch", "")
    if kernels == "auto" and not graphed:
        return Choice("torch", "no fused operators (faster in CUDA graphs alone)")
    if kernels == "auto" and not compiled:
        kernels = "measured"
    if kernels in FASTER:
        return Choice(kernels, f"fused operators {', '.join(sorted(FASTER[kernels]))}")
    if kernels == "torch":
        return Choice("torch", "no fused operators (--training.kernels torch)")
    plain = "" if device.type == "cuda" else " (their PyTorch form, on a CPU)"
    return Choice("triton", f"fused operators{plain}")


def _sync_bn(training: TrainingConfig, process: Process) -> Choice[bool]:
    if not training.sync_bn:
        return Choice(False, "")
    if process.world_size == 1:
        return Choice(False, "no SyncBN (one process)")
    return Choice(True, "SyncBN (its layers are not fused)")
