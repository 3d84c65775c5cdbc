"""What the host does around captured iterations; the capturing itself is tested on a GPU (test_cuda.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.models.fused import Fusable
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask, fused_operators, replays
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.graphed import GraphedStep
from intact_fast.training.step.optimisers import build_optimisers
from intact_fast.training.step.shared import Record, SharedStep
from training_cases import CPU, SINGLE_PROCESS, batch_of, networks_of, small


class Rerun:
    """Stands in for graphs: a replay runs the recorded call again, as the host decided then, who learns nothing."""

    def __init__(self, table: FeatureTable) -> None:
        self.table = table
        self.recorded = self.replayed = 0

    def beside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, function: Callable[[], Record]) -> Callable[[], Record]:
        self.recorded += 1
        known_then = self.table._known.copy()

        def replay() -> Record:
            self.replayed += 1
            known = self.table._known.copy()
            self.table._known[:] = known_then
            record = function()
            self.table._known[:] = known
            return record

        return replay


def batch_with_views(number: int) -> Batch:
    view = np.arange(6) * 2 + 12 * number
    return replace(batch_of(number), view=torch.from_numpy(view), view_on_host=view)


def test_replayed_iterations_equal_plain_ones(tiny_config: Config) -> None:
    """Through the warm-up of L_dis, a detailed iteration, and pictures seen before or not."""
    config = small(tiny_config, dis_warmup=6)
    order = [0, 1, 2, 3, 4, 4, 5, 6, 0, 1, 2, 3, 4, 5, 7, 7]
    states, losses = [], []
    for graphed in (False, True):
        networks = networks_of(config)
        table = FeatureTable(48, 512, CPU)
        step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS, table=table)
        recorder = Rerun(table)
        form = GraphedStep(step, recorder) if graphed else step
        rows = []
        for i, number in enumerate(order):
            record = form(batch_with_views(number), i, i == 10)
            rows.append({name: value.clone() for name, value in record.items()})
        losses.append(rows)
        states.append(networks.state_dict())
        if graphed:
            # new pictures in the warm-up, known ones after it
            assert (recorder.recorded, recorder.replayed) == (2, 5)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    for plain, replayed in zip(*losses, strict=True):
        assert plain.keys() == replayed.keys()
        for name, value in plain.items():
            assert torch.equal(value, replayed[name]), name


def test_loading_a_state_forgets_what_was_recorded(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(config)
    table = FeatureTable(6, 512, CPU)
    recorder = Rerun(table)
    step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)
    form = GraphedStep(step, recorder)
    for i in range(5):
        form(batch_of(i), i, False)
    assert recorder.recorded == 1
    form.load_state(form.state())
    form(batch_of(5), 5, False)
    assert recorder.recorded == 2


def test_another_batch_size_is_refused(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(config)
    step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)
    form = GraphedStep(step, Rerun(FeatureTable(6, 512, CPU)))
    form(batch_of(0), 0, False)
    with pytest.raises(AssertionError, match="captured"):
        form(batch_of(1, size=4), 1, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuda_graph": "on"}, r"--training\.cuda-graph on: it needs a GPU"),
        ({"sync_bn": True}, r"--training\.sync-bn: PyTorch has it on GPUs only"),
        ({"cuda_graph": "on", "step": "naive"}, r"--training\.form naive"),
    ],
)
def test_unfit_options_are_named(tiny_config: Config, changes: dict[str, object], message: str) -> None:
    config = replace(tiny_config, training=replace(tiny_config.training, **changes))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        IntactTask(config, build_osnet("osnet_x0_25", 5), SINGLE_PROCESS)


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
    training = replace(Config().training, **changes)
    assert replays(training, Process(0, processes, torch.device(device), None)) == expected


@pytest.mark.parametrize(
    ("device", "processes", "changes", "expected"),
    [
        ("cuda", 1, {"compile": "on"}, "auto"),
        ("cuda", 1, {"compile": "off"}, "triton"),
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
    training = replace(Config().training, **changes)
    assert fused_operators(training, Process(0, processes, torch.device(device), None)) == expected


def test_operators_are_not_fused_where_python_launches_them(tiny_config: Config) -> None:
    config = replace(tiny_config, training=replace(tiny_config.training, kernels="auto"))
    networks = IntactTask(config, build_osnet("osnet_x0_25", 5), SINGLE_PROCESS).networks
    parts = [*networks.modules(), *networks.frozen_discriminator.modules()]
    chosen = {part.kernels for part in parts if isinstance(part, Fusable)}
    assert chosen == {"torch"}


def test_a_checkpoint_without_graphs_is_taken_up_with_them(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's state says whether it can be captured; a checkpoint must not decide that."""
    critic = build_osnet("osnet_x0_25", 5)
    before = IntactTask(tiny_config, critic, SINGLE_PROCESS)
    before.step(batch_of(0), 0, detailed=False)
    after = IntactTask(tiny_config, critic, SINGLE_PROCESS)
    # as on a GPU, but that nothing can be captured here
    monkeypatch.setattr(after, "_graphed", True)
    after.load_state(before.state())
    groups = [group for o in after._optimisers.named().values() for group in o.param_groups]
    assert groups
    assert all(group["capturable"] for group in groups)
    before.load_state(after.state())
    assert not any(g["capturable"] for o in before._optimisers.named().values() for g in o.param_groups)
