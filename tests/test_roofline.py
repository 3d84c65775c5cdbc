"""The bound on an iteration: its counts against closed forms and against PyTorch's own counter."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import record
from benchmarks.roofline import __main__ as roofline
from benchmarks.roofline.bound import CHIPS, by_kind, by_part, total_ms, whole
from benchmarks.roofline.candidates import CANDIDATES, saved_by_candidates
from benchmarks.roofline.costs import FORMS, without_small, work_of
from benchmarks.roofline.operation import Kind, Operation, Place, counter_of_flops
from benchmarks.roofline.trace import ready_task, trace_iteration
from docs.generate.blocks import Call
from docs.generate.roofline import TABLES
from intact_fast.config.options import Config, GeneratorConfig
from intact_fast.kernels import Kernels
from training_cases import SmallCritic

FORWARD = Place("pictures of G", "G", "forward")
BATCH = 4


def traced(config: Config, **training: Any) -> tuple[list[Operation], Config]:
    options = {"precision": "bf16", "kernels": "triton", "f_c_table": True, "compile": "off", **training}
    config = replace(config, training=replace(config.training, **options))
    return trace_iteration(*ready_task(config, BATCH, SmallCritic())), config


def moved(operations: list[Operation], form: Any) -> int:
    return sum(work.moved for work in work_of(operations, form))


def test_flops_are_those_of_pytorchs_counter(tiny_config: Config) -> None:
    config = replace(tiny_config, training=replace(tiny_config.training, kernels="torch", f_c_table=True))
    counter = FlopCounterMode(display=False)
    operations = trace_iteration(*ready_task(config, BATCH, SmallCritic()), [counter])
    assert sum(o.flops for o in operations) == counter.get_total_flops() > 0


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_gradients_of_groups_count_their_own_channels_alone(groups: int) -> None:
    convolution = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    x = torch.rand(2, 8, 6, 4, requires_grad=True)
    with counter_of_flops() as counter:
        convolution(x).sum().backward()
    # the output, the gradient of the input and that of the filters
    assert counter.get_total_flops() == 3 * 2 * (2 * 6 * 4) * 8 * (8 // groups) * 9


def test_convolutions_of_d_have_their_closed_form(tiny_config: Config) -> None:
    operations, config = traced(tiny_config)
    height, width = config.data.height, config.data.width
    channels = [3, *(w for w in config.discriminator.widths for _ in range(2))]
    expected = 0
    for number, (inside, outside) in enumerate(itertools.pairwise(channels)):
        height, width = (height + number % 2) // (1 + number % 2), (width + number % 2) // (1 + number % 2)
        expected += 2 * BATCH * height * width * outside * inside * 9
    convolutions = [o for o in operations if o.kind == "convolution" and o.place.network == "D"]
    of = {
        (update, direction): sum(o.flops for o in convolutions if o.place[::2] == (update, direction))
        for update in ("update of D", "update of φ and σ", "update of G")
        for direction in ("forward", "backward")
    }
    assert of["update of D", "forward"] == 2 * expected
    assert of["update of φ and σ", "forward"] == of["update of G", "forward"] == expected
    assert of["update of φ and σ", "backward"] == 0
    # the frozen D gives the gradient of its input alone; in its own update the pictures' is not asked for
    first = 2 * BATCH * config.data.height * config.data.width * channels[1] * 3 * 9
    assert of["update of G", "backward"] == expected
    assert of["update of D", "backward"] == 2 * (2 * expected - first)


def test_a_convolution_moves_its_own_tensors(tiny_config: Config) -> None:
    operations, config = traced(tiny_config)
    pixels, channels = BATCH * config.data.height * config.data.width, config.generator.widths[0]
    stem = next(o for o in operations if o.kind == "convolution" and o.place == FORWARD)
    # bfloat16: pictures, filters and what comes out; the bias comes on top
    assert stem.own_bytes == 2 * (3 * pixels + 27 * channels + channels * pixels + channels)
    assert stem.launched_bytes == stem.own_bytes
    tail = next(o for o in operations if o.name == "convolution_backward" and o.place.network == "G")
    (grad,) = tail.again.values()
    assert grad == 2 * 3 * pixels
    assert tail.launched_bytes == tail.own_bytes + grad
    assert tail.launches == 3


def test_adam_moves_seven_words_a_parameter(tiny_config: Config) -> None:
    operations, config = traced(tiny_config)
    task, _ = ready_task(config, BATCH, SmallCritic())
    association = task.networks.association
    assert association is not None
    trained = nn.ModuleList([task.networks.generator, task.networks.discriminator, association])
    sizes = [parameter.numel() for parameter in trained.parameters()]
    adam = [o for o in operations if o.kind == "optimiser"]
    # the parameter and both averages are read and written, the gradient is read; each has a counter that is read
    assert sum(o.own_bytes for o in adam) == sum(4 * 7 * size for size in sizes) + 4 * len(sizes)
    assert len(adam) == 3


def test_every_normalisation_is_where_it_belongs(tiny_config: Config) -> None:
    operations, config = traced(tiny_config)
    blocks = 2 * len(config.generator.widths) * config.generator.blocks_per_group
    widths = config.generator.widths
    shortcuts = 2 * sum(a != b for a, b in itertools.pairwise(widths))
    for direction in ("forward", "backward"):
        normalised = [o for o in operations if o.kind == "normalisation" and o.place.direction == direction]
        assert sum(o.place.network == "G" for o in normalised) == 2 * blocks + shortcuts
    assert sum(o.kind == "shuffle" for o in operations) == 2 * len(widths)
    places = {(o.place.network, o.place.direction) for o in operations}
    assert {("C", "forward"), ("C", "backward"), ("φ and σ", "backward"), ("losses", "forward")} <= places


def operation(kind: Kind, reads: dict[int, int], writes: dict[int, int], **fields: Any) -> Operation:
    again = fields.pop("again", {})
    launched = sum([*reads.values(), *writes.values(), *again.values()])
    rest = {"flops": 0, "launches": 1, "unfoldable": {}, "name": kind, **fields}
    return Operation(
        kind=kind, shapes=(), place=FORWARD, reads=reads, writes=writes, launched_bytes=launched, again=again, **rest
    )


def test_what_lies_between_two_convolutions_becomes_one_launch() -> None:
    """x(1) -> conv -> z(2) -> norm -> n(3), + r(5) -> s(6), relu -> y(4) -> conv -> out(7); r waits for the sum."""
    operations = [
        operation("convolution", {1: 10}, {2: 20}),
        operation("normalisation", {2: 20}, {3: 20}, again={2: 20}),
        operation("elementwise", {3: 20, 5: 20}, {6: 20}),
        operation("elementwise", {6: 20}, {4: 20}),
        operation("convolution", {4: 20}, {7: 30}),
    ]
    assert moved(operations, "launched") == 30 + 60 + 60 + 40 + 50
    # the sum stays in the launch that takes the ReLU
    assert moved(operations, "compiled") == 30 + 60 + 60 + 50
    # z twice, r once, y
    assert moved(operations, "passes") == 30 + (20 + 20 + 20 + 20) + 50
    assert moved(operations, "fused") == 30 + 50


def test_nothing_is_one_launch_across_a_convolution() -> None:
    """y(2) goes into a convolution and into the sum after it, as a residual block's does."""
    operations = [
        operation("elementwise", {1: 20}, {2: 20}),
        operation("convolution", {2: 20}, {3: 20}),
        operation("elementwise", {2: 20, 3: 20}, {4: 20}),
        operation("convolution", {4: 20}, {5: 20}),
    ]
    assert moved(operations, "passes") == moved(operations, "launched")
    assert [work.launches for work in work_of(operations, "passes")] == [1] * 4


def test_small_tensors_may_stay_in_the_cache() -> None:
    operations = [operation("convolution", {1: 10}, {2: 200}), operation("normalisation", {2: 200}, {3: 5})]
    assert moved(without_small(operations, 10), "launched") == 400


def test_each_form_moves_no_more_than_the_one_before(tiny_config: Config) -> None:
    light = replace(tiny_config, generator=GeneratorConfig(arch="light"))
    for config in (tiny_config, light):
        operations, _ = traced(config)
        totals = [moved(operations, form) for form in FORMS]
        assert totals == sorted(totals, reverse=True)
        flops = {sum(work.flops for work in work_of(operations, form)) for form in FORMS}
        assert flops == {sum(o.flops for o in operations)}
        for form in FORMS:
            work = work_of(operations, form)
            assert total_ms(work, CHIPS[0]) >= 1e3 * sum(o.flops for o in operations) / CHIPS[0].flops
            parts, kinds = (table(operations, CHIPS[0]) for table in (by_part, by_kind))
            for rows in (parts, kinds):
                ms = sum(row.get(f"{form}_ms", 0.0) for row in rows.values())
                assert ms == pytest.approx(total_ms(work, CHIPS[0]))


def test_bytes_of_pictures_grow_with_the_batch_and_those_of_adam_do_not(tiny_config: Config) -> None:
    config = traced(tiny_config)[1]
    small, large = (trace_iteration(*ready_task(config, size, SmallCritic())) for size in (4, 8))
    assert sum(o.flops for o in large) == 2 * sum(o.flops for o in small)
    adam = [sum(o.own_bytes for o in operations if o.kind == "optimiser") for operations in (small, large)]
    assert adam[0] == adam[1]


def depthwise_of(config: Config, kernels: Kernels) -> list[Operation]:
    """The depthwise convolutions of an iteration with OSNet as C_q."""
    training = replace(config.training, f_c_table=True, kernels=kernels, precision="bf16", compile="off")
    config = replace(config, critic=replace(config.critic, query="joint"), training=training)
    operations = trace_iteration(*ready_task(config, BATCH))
    assert saved_by_candidates(operations).keys() == {candidate.name for candidate in CANDIDATES}
    return [o for o in operations if o.kind == "depthwise"]


def test_depthwise_filters_count_their_own_channels_alone(tiny_config: Config) -> None:
    """PyTorch's counter takes the gradient of a depthwise filter for that of a full one."""
    depthwise = depthwise_of(tiny_config, "torch")
    forward = sum(o.flops for o in depthwise if o.place.direction == "forward")
    assert {o.place.network for o in depthwise} == {"C_q"}
    assert sum(o.flops for o in depthwise if o.place.direction == "backward") == 2 * forward > 0


def test_the_fused_depthwise_convolution_moves_its_own_tensors(tiny_config: Config) -> None:
    """Forward x and the output; backward the gradient, the output, x and the gradient of x."""
    plain, fused = (depthwise_of(tiny_config, kernels) for kernels in ("torch", "triton"))
    assert {o.name for o in fused} == {"depthwise_norm_act", "depthwise_norm_act_backward"}
    assert sum(o.flops for o in fused) == sum(o.flops for o in plain)
    for o in fused:
        elements, channels = math.prod(o.shapes[0]), o.shapes[0][1]
        # float32 filters and vectors beside pictures in 16 bits; backward their gradients as well
        pictures, words = (2, 9 + 4) if o.place.direction == "forward" else (4, 9 + 3 + 9 + 2)
        assert o.own_bytes == 2 * pictures * elements + 4 * words * channels
    assert {o.launches for o in fused} == {1, 2}


def test_the_record_fills_the_tables(tiny_config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    operations, _ = traced(tiny_config)
    found: dict[str, Any] = {
        name: {str(size): roofline.figures(name, operations, size, CHIPS[0], size == 32) for size in roofline.BATCHES}
        for name in roofline.NETWORKS
    }
    assert found["paper"]["32"]["tflop"] == whole(operations, 32)["tflop"]
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    monkeypatch.setattr("docs.generate.records.FOLDER", tmp_path)
    path = record.write_record(roofline.record_of(found, CHIPS[0], roofline.BATCHES), "test-of-roofline")
    for block in TABLES.values():
        assert block(Call((path.stem,), {}, path)).count("\n") > 3
