"""NaN and infinity, planted in gradients, losses, pictures and features: found where they arise, and named."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.chaos.children import side_by_side
from benchmarks.chaos.programs import command, finish_all, output_of, start
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, draw_pictures
from intact_fast import SRReID
from intact_fast.config.command_line import parse_config
from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.models import build_osnet
from intact_fast.serving.gallery import Gallery, Identity, search_gallery
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.critic import CriticTask
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run
from intact_fast.training.step import objectives

CPU = torch.device("cpu")
ITERATIONS = 10
VALUES = (float("nan"), float("inf"), -float("inf"))
NETWORKS = ("generator", "discriminator", "association")
LOSSES = {
    "loss/discriminator": "discriminator_loss",
    "loss/mse": "content_loss",
    "loss/id": "identity_loss",
    "loss/gan": "generator_adversarial_loss",
}
"""What a loss is called, and the function that gives it."""


def run(trial: Trial) -> list[Promise]:
    """Plant what is no number, everywhere."""
    config = small_config(trial.folder)
    return side_by_side(
        [
            partial(diverged, trial, config),
            partial(resumed, trial, config),
            partial(recovered, trial, config),
            partial(refused_pictures, trial),
            partial(refused_features, trial),
        ]
    )


def small_config(folder: Path) -> Config:
    """Give the smallest training, of pictures that are drawn there."""
    options = ["--data.root", draw_pictures(folder), "--runs", folder / "runs"]
    config = parse_config([*OPTIONS, *map(str, options)], "benchmarks.chaos", "")
    training = replace(config.training, iterations=ITERATIONS, log_every=4, checkpoint_every=3, validate_every=0)
    return replace(config, training=training)


def train(config: Config) -> SRReID:
    """Train silently, in this process."""
    with contextlib.redirect_stdout(io.StringIO()):
        return Run(config, Process(0, 1, CPU, None)).train()


@contextmanager
def planted(task: type[IntactTask] | type[CriticTask], iteration: int, plant: Callable[[Any], Any]) -> Iterator[None]:
    """Enter what ``plant`` gives for a task while that iteration runs."""
    original = task.step

    def step(self: Any, batch: Any, number: int, detailed: bool) -> Any:
        with plant(self) if number == iteration - 1 else contextlib.nullcontext():
            return original(self, batch, number, detailed)

    with patch.object(task, "step", step):
        yield


@contextmanager
def bad_gradient(parameter: Tensor, value: float) -> Iterator[None]:
    """Give one number of a parameter's gradient another value."""

    def change(gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed[(0,) * changed.ndim] = value
        return changed

    handle = parameter.register_hook(change)
    yield
    handle.remove()


def bad_loss(name: str, value: float) -> Any:
    """Let a loss have another value."""
    original = getattr(objectives, LOSSES[name])
    return patch.object(objectives, LOSSES[name], lambda *inputs: original(*inputs) + value)


def diverged(trial: Trial, config: Config) -> Promise:
    """Plant in gradients and losses at a drawn iteration."""
    promise = Promise(
        "A loss or a gradient that is not a number ends the training at the next record or checkpoint. One line names "
        "the first loss or tensor, its iteration and the remedy; no checkpoint holds such a number."
    )
    draw = trial.draw()
    for number in range(trial.count(12)):
        value, iteration = draw.choice(VALUES), draw.randint(1, ITERATIONS)
        name = f"planted-{number}"
        run_of = replace(config, name=name)
        if number % 3 == 0:
            loss = draw.choice(list(LOSSES))
            expected, context = loss, planted(IntactTask, iteration, lambda task, n=loss, v=value: bad_loss(n, v))
        elif number % 10 == 1:
            run_of = replace(run_of, critic=replace(config.critic, iterations=ITERATIONS))
            expected = "fc.0.weight"
            context = planted(CriticTask, iteration, lambda task, v=value: bad_gradient(task.critic.fc[0].weight, v))
        else:
            network, index = draw.choice(NETWORKS), draw.random()
            expected = chosen_parameter(config, network, index)
            context = planted(
                IntactTask,
                iteration,
                lambda task, n=expected, v=value: bad_gradient(dict(task.networks.named_parameters())[n], v),
            )
        with context:
            said = error_of(lambda: train(run_of))  # noqa: B023
        wanted = rf"\w+: {re.escape(expected)} is not a number at iteration {iteration}, stopped.*; lower --\S+"
        promise.test(re.match(wanted, said) is not None, f"{expected}, {value} at {iteration}: {said}")
        promise.test(checkpoints_are_numbers(run_of), f"{expected}, {value} at {iteration}: a checkpoint holds it")
    return promise


def chosen_parameter(config: Config, network: str, index: float) -> str:
    """Name a trained parameter of a network that every iteration updates."""
    if not PARAMETERS:
        with planted(IntactTask, 1, lambda task: remembered(task)):
            train(replace(config, name="parameters"))
    names = [name for name in PARAMETERS if name.startswith(f"{network}.")]
    return names[int(index * len(names))]


PARAMETERS: list[str] = []


@contextmanager
def remembered(task: IntactTask) -> Iterator[None]:
    """Remember which parameters an iteration gives a gradient."""
    yield
    PARAMETERS.extend(name for name, p in task.networks.named_parameters() if p.grad is not None)


def error_of(function: Callable[[], object]) -> str:
    """Give a UserError's or ValueError's text, as one line that begins with what was raised otherwise."""
    try:
        function()
    except (UserError, ValueError) as error:
        text = str(error)
        return text if "\n" not in text else f"several lines: {text}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was said"


def checkpoints_are_numbers(config: Config) -> bool:
    """Say whether all weights in a run's checkpoints are."""
    return all(
        value.isfinite().all()
        for path in (config.runs / config.name / "checkpoints").rglob("*.pt")
        for name, value in tensors_of(read_checkpoint(path, "x")).items()
        # a floor is none before it is first set
        if not name.endswith("floor")
    )


def tensors_of(value: Any, name: str = "") -> dict[str, Tensor]:
    """Give the floating-point tensors of nested dictionaries and lists by their place."""
    if isinstance(value, Tensor):
        return {name: value} if value.is_floating_point() else {}
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {place: tensor for key, item in items for place, tensor in tensors_of(item, f"{name}/{key}").items()}


def recovered(trial: Trial, config: Config) -> Promise:
    """Let gradients of float16 overflow."""
    promise = Promise(
        "In float16 a gradient of G or D that overflows costs its step alone: the loss scale is halved. This was "
        "tried on a CPU."
    )
    draw = trial.draw()
    half = replace(config, training=replace(config.training, precision="fp16"))
    for number in range(trial.count(3)):
        network, value, iteration = draw.choice(NETWORKS[:2]), draw.choice(VALUES), draw.randint(1, ITERATIONS)
        run_of = replace(half, name=f"half-{number}")

        def plant(task: IntactTask, network: str = network, value: float = value) -> Any:
            return bad_gradient(next(getattr(task.networks, network).parameters()), value)

        with planted(IntactTask, iteration, plant):
            said = error_of(lambda: train(run_of))  # noqa: B023
        latest = CheckpointStore(run_of.runs / run_of.name / "checkpoints", 1).latest()
        scale = None if latest is None else read_checkpoint(latest, "x")["state"]["step"][network].get("scale")
        holds = said == "nothing was said" and scale == 2.0**15 and checkpoints_are_numbers(run_of)
        promise.test(holds, f"{network}, {value} at {iteration}: {said}, scale {scale}")
    return promise


def refused_pictures(trial: Trial) -> Promise:
    """Give arrays and tensors that are no pictures to the retrieval module."""
    promise = Promise("A floating-point picture that holds NaN or infinity is refused by a ValueError of one line.")
    draw, model = trial.draw(), SRReID(build_osnet("osnet_x0_25", 5), None, (32, 16))
    for number in range(trial.count(60)):
        value, shape = draw.choice(VALUES), (draw.randint(8, 40), draw.randint(8, 40), 3)
        array = np.full(shape, 0.5, dtype=draw.choice([np.float16, np.float32, np.float64]))
        array[draw.randrange(shape[0]), draw.randrange(shape[1]), draw.randrange(3)] = value
        picture = torch.from_numpy(array).permute(2, 0, 1) if number % 2 else array
        said = error_of(lambda: model(picture))  # noqa: B023
        promise.test("NaN" in said and said.startswith(("a floating", "the tensor")), f"{value} in {shape}: {said}")
    return promise


def refused_features(trial: Trial) -> Promise:
    """Give features that are no numbers to a gallery, as rows and as queries."""
    promise = Promise("A feature that holds NaN or infinity gets into no gallery and finds nothing: it is named.")
    draw, gallery = trial.draw(), Gallery.open(trial.folder / "g.lance", Identity("m", "0" * 64, "mode=auto"))
    good = torch.randn(8, 512, generator=torch.Generator().manual_seed(trial.seed))
    gallery.add([f"{row}.jpg" for row in range(8)], good)
    for _ in range(trial.count(30)):
        bad, row = good.clone(), draw.randrange(8)
        bad[row, draw.randrange(512)] = draw.choice(VALUES)
        names = [f"new-{number}.jpg" for number in range(8)]
        said = error_of(lambda: gallery.add(names, bad))  # noqa: B023
        promise.test(said.startswith(f"new-{row}.jpg: ") and len(gallery) == 8, f"row {row}: {said}")
        said = error_of(lambda: search_gallery(gallery, bad, 1))  # noqa: B023
        promise.test(said.startswith(f"query {row}: "), f"query {row}: {said}")
    return promise


def resumed(trial: Trial, config: Config) -> Promise:
    """Go on with another arithmetic, and with another number of processes."""
    promise = Promise("A run that goes on on another kind of machine says in one line what changes.")
    plan = "intact_fast.training.step.plan.computes_bfloat16"
    auto = replace(config, training=replace(config.training, precision="auto"))
    for before, now in ((True, False), (False, True), (False, False)):
        run_of = replace(auto, name=f"resumed-{before}-{now}")
        for has_bfloat16, iterations in ((before, 3), (now, 4)):
            said = io.StringIO()
            asked = replace(run_of, training=replace(run_of.training, iterations=iterations))
            with patch(plan, lambda device, answer=has_bfloat16: answer), contextlib.redirect_stdout(said):
                Run(asked, Process(0, 1, CPU, None)).train()
        names = {True: "bfloat16", False: "float32"}
        expected = f"of another kind: precision {names[before]} before and {names[now]} now;"
        told = " ".join(said.getvalue().split())
        holds = expected in told if before != now else "of another kind" not in told
        promise.test(holds, f"{names[before]}, then {names[now]}: {told[-200:]}")
    for name, processes, threads, expected in (
        ("threads", 1, "2", "threads 1 before and 2 now"),
        ("processes", 2, "1", "The checkpoint is of 1 processes, now there are 2: epoch"),
    ):
        options = [*OPTIONS, "--data.root", config.data.root, "--runs", config.runs, "--name", name]
        options += ["--training.iterations"]
        failed = finish_all({name: command("intact_fast.train", [*options, 2])})
        again = start(command("intact_fast.train", [*options, 4], processes), {"OMP_NUM_THREADS": threads})
        status, output = output_of(again)
        told = " ".join(output.split())
        promise.test(not failed and status == 0 and expected in told, f"{failed} {told[-300:]}")
    return promise
