"""How an iteration is run: decided once, refused where it cannot be, and told in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.models.fused import Fusable
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.plan import StepPlan, plan_step
from training_cases import SINGLE_PROCESS, task_of


def plan_of(device: str, processes: int, changes: dict[str, Any]) -> StepPlan:
    config = Config()
    config = replace(config, training=replace(config.training, **changes))
    return plan_step(config, Process(0, processes, torch.device(device), None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuda_graph": "on"}, r"--training\.cuda-graph on: it needs a GPU"),
        ({"sync_bn": True}, r"--training\.sync-bn: PyTorch has it on GPUs only"),
        ({"cuda_graph": "on", "step": "naive"}, r"--training\.step naive"),
    ],
)
def test_unfit_options_are_named(tiny_config: Config, changes: dict[str, object], message: str) -> None:
    config = replace(tiny_config, training=replace(tiny_config.training, **changes))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        plan_step(config, SINGLE_PROCESS)


@pytest.mark.parametrize(
    ("device", "processes", "changes", "expected"),
    [
        ("cuda", 1, {}, True),
        ("cuda", 1, {"cuda_graph": "off"}, False),
        ("cuda", 1, {"step": "naive"}, False),
        ("cuda", 2, {}, False),
        ("cpu", 1, {}, False),
    ],
)
def test_graphs_are_replayed_where_they_can_be(
    device: str, processes: int, changes: dict[str, Any], expected: bool
) -> None:
    plan = plan_of(device, processes, changes)
    assert plan.graphed.value == expected


@pytest.mark.parametrize(
    ("device", "processes", "changes", "expected"),
    [
        ("cuda", 1, {"compile": "on"}, "auto"),
        ("cuda", 1, {"compile": "off"}, "measured"),
        ("cuda", 1, {"compile": "on", "kernels": "measured"}, "measured"),
        ("cuda", 1, {"compile": "off", "cuda_graph": "off"}, "torch"),
        ("cuda", 2, {}, "torch"),
        ("cpu", 1, {}, "torch"),
        ("cpu", 1, {"kernels": "triton"}, "triton"),
        ("cuda", 1, {"kernels": "torch"}, "torch"),
    ],
)
def test_operators_are_fused_where_they_are_faster(
    device: str, processes: int, changes: dict[str, Any], expected: str
) -> None:
    assert plan_of(device, processes, changes).kernels.value == expected


def test_operators_are_not_fused_where_python_launches_them(tiny_config: Config) -> None:
    config = replace(tiny_config, training=replace(tiny_config.training, kernels="auto"))
    networks = task_of(config).networks
    parts = [*networks.modules(), *networks.frozen_discriminator.modules()]
    chosen = {part.kernels for part in parts if isinstance(part, Fusable)}
    assert chosen == {"torch"}


def test_a_run_says_what_is_active(tiny_config: Config) -> None:
    config = replace(tiny_config, generator=replace(tiny_config.generator, ema_decay=0.9))
    line = plan_step(config, SINGLE_PROCESS).describe()
    assert line == (
        "step: shared forward passes, float32, not compiled (slower on a CPU), no CUDA graphs "
        "(one process on a GPU alone), no fused operators (faster in CUDA graphs alone), Adam of torch, averaged G"
    )
