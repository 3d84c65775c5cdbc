"""Adam's backends, loss scaling and the averaged G."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from intact_fast.config.options import Config, OptimiserConfig
from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask, autocast_type
from intact_fast.training.step import optimisers
from intact_fast.training.step.optimisers import Updater, build_optimisers
from training_cases import CPU, SINGLE_PROCESS, batch_of, networks_of, small


def test_apex_is_refused_where_it_cannot_be(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = networks_of(small(tiny_config))
    config = OptimiserConfig(backend="apex")
    with pytest.raises(UserError, match=r"--optimiser\.backend apex: it needs a GPU"):
        build_optimisers(networks, config)
    for module in (None, SimpleNamespace()):
        # PyPI's apex, another project, has no optimizers
        monkeypatch.setitem(sys.modules, "apex.optimizers", module)
        with pytest.raises(UserError, match=r"NVIDIA's apex is not installed.*github\.com/NVIDIA/apex"):
            optimisers._apex_adam()


def test_apex_is_asked_for_adam_not_adamw(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fused_adam(parameters: Any, **options: Any) -> torch.optim.Optimizer:
        asked.append(options)
        return torch.optim.SGD(parameters, lr=1.0)

    monkeypatch.setitem(sys.modules, "apex.optimizers", SimpleNamespace(FusedAdam=fused_adam))
    networks = networks_of(small(tiny_config))
    monkeypatch.setattr(networks, "parameters", lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    build_optimisers(networks, OptimiserConfig(backend="apex"))
    assert len(asked) == 3
    assert all(options["adam_w_mode"] is False and options["betas"] == (0.9, 0.999) for options in asked)


def test_scaled_updates_equal_plain_ones_and_skip_overflow() -> None:
    weights = []
    for scaled in (False, True):
        weight = torch.nn.Parameter(torch.ones(3))
        updater = Updater(torch.optim.Adam([weight], lr=0.1, fused=True), scaled, CPU)
        for measured in (False, True):
            updater.backward((weight * torch.tensor([1.0, 2.0, 3.0])).sum(), measured)
            if measured:
                assert weight.grad is not None
                assert weight.grad.tolist() == [1.0, 2.0, 3.0]
            updater.step()
        weights.append(weight.detach().clone())
        if scaled:
            before = updater.scaler.get_scale()
            updater.backward((weight * float("inf")).sum())
            updater.step()
            assert torch.equal(weight, weights[-1])
            assert updater.scaler.get_scale() == before / 2
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_sixteen_bits_train_and_resume(tiny_config: Config, precision: str) -> None:
    config = small(tiny_config)
    config = replace(
        config,
        training=replace(config.training, precision=precision),  # type: ignore[arg-type]
        generator=replace(config.generator, ema_decay=0.5),
    )

    def task() -> IntactTask:
        torch.manual_seed(0)
        return IntactTask(config, build_osnet("osnet_x0_25", 5), SINGLE_PROCESS)

    whole, first = task(), task()
    for i in range(4):
        record = whole.step(batch_of(i), i, detailed=i == 1)
        assert all(value.isfinite() for value in record.values())
    for i in range(2):
        first.step(batch_of(i), i, detailed=i == 1)
    second = task()
    second.load_state(first.state())
    for i in range(2, 4):
        second.step(batch_of(i), i, detailed=False)
    for name, value in whole.networks.state_dict().items():
        assert torch.equal(second.networks.state_dict()[name], value), name
    assert autocast_type(precision, CPU) == {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    scales = whole.state()["step"]
    assert bool(scales["generator"]) == (precision == "fp16")
    assert scales["association"] == {}


def test_average_of_g_serves(tiny_config: Config) -> None:
    config = small(tiny_config)
    config = replace(config, generator=replace(config.generator, ema_decay=0.75))
    task = IntactTask(config, build_osnet("osnet_x0_25", 5), Process(0, 1, CPU, None))
    start = {name: value.clone() for name, value in task.networks.generator.state_dict().items()}
    task.step(batch_of(0), 0, detailed=False)
    served = task.networks.serving_generator
    assert served is not task.networks.generator
    assert not served.training
    for name, value in served.state_dict().items():
        if value.is_floating_point():
            now = task.networks.generator.state_dict()[name]
            torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * now)


def test_a_run_says_what_is_active(tiny_config: Config) -> None:
    config = replace(tiny_config, generator=replace(tiny_config.generator, ema_decay=0.9))
    line = IntactTask(config, build_osnet("osnet_x0_25", 5), SINGLE_PROCESS).describe()
    assert line == (
        "step: shared forward passes, float32, not compiled (slower on a CPU), no CUDA graphs "
        "(one process on a GPU alone), no fused operators (faster in CUDA graphs alone), Adam of torch, averaged G"
    )
