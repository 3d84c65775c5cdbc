"""A training that has diverged stops at its last good state, with advice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.training.distributed.process import Process
from intact_fast.training.divergence import DivergenceWatch
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run
from intact_fast.training.step.iteration import Record

SINGLE_PROCESS = Process(0, 1, torch.device("cpu"), None)
NAN = float("nan")


def network() -> nn.Module:
    layer = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    layer.register_buffer("floor", torch.full((), NAN))  # NaN until it is first set
    return layer


def record(loss: float, other: float = NAN) -> Record:
    return {"loss/id": torch.tensor(loss), "association/weight": torch.tensor(other)}


def found_by(watch: DivergenceWatch, figures: Record | None = None) -> str | None:
    finding = watch.look(figures)
    return None if finding is None else finding.name


def test_a_healthy_training_goes_on() -> None:
    watch = DivergenceWatch(network(), SINGLE_PROCESS, skips_overflows=False)
    assert watch.look(record(1.0)) is None
    assert watch.look() is None


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.running_mean", "1.running_var"])
def test_a_weight_or_a_statistic_that_is_no_number(name: str, value: float) -> None:
    module = network()
    with torch.no_grad():
        module.state_dict()[name].view(-1)[1] = value
    assert found_by(DivergenceWatch(module, SINGLE_PROCESS, skips_overflows=True)) == name


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_loss_that_is_no_number(value: float) -> None:
    assert found_by(DivergenceWatch(network(), SINGLE_PROCESS, skips_overflows=False), record(value)) == "loss/id"


def test_a_skipped_step_is_no_divergence() -> None:
    """In float16 a loss may overflow, and its step is left out; for ever is too long."""
    watch = DivergenceWatch(network(), SINGLE_PROCESS, skips_overflows=True)
    found = [found_by(watch, record(loss)) for loss in (NAN, NAN, 1.0, NAN, NAN, NAN)]
    assert found == [None] * 5 + ["loss/id"]


class TwoNetworks(nn.Module):
    """G and D as a training calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.discriminator = nn.Linear(3, 1)


LOSSES = ("loss/discriminator", "loss/mse", "loss/id", "loss/generator")


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({4: ["loss/id", "loss/generator", "generator.0.weight"], 5: [*LOSSES]}, (4, "loss/id")),
        ({4: ["discriminator.bias", "loss/generator", "generator.0.weight"]}, (4, "discriminator.bias")),
        ({6: ["generator.0.bias"]}, (6, "generator.0.bias")),
        ({5: [*LOSSES, "generator.1.running_var", "generator.0.weight"]}, (5, "generator.1.running_var")),
        ({4: ["loss/mse"]}, (4, "loss/mse")),
    ],
    ids=["a loss", "D's gradient", "G's gradient", "G's forward pass", "a loss that harms nothing"],
)
def test_the_first_that_is_no_number_is_named(broken: dict[int, list[str]], expected: tuple[int, str]) -> None:
    """Records are looked at after iterations 3 and 6; what is broken stays so, but for losses."""
    module = TwoNetworks()
    watch = DivergenceWatch(module, SINGLE_PROCESS, skips_overflows=False)
    sums = {name: torch.zeros(()) for name in LOSSES}
    for iteration in range(1, 7):
        names = broken.get(iteration, [])
        with torch.no_grad():
            for name in names:
                if not name.startswith("loss/"):
                    module.state_dict()[name].fill_(NAN)
        figures = {name: torch.tensor(NAN if name in names else 1.0) for name in LOSSES}
        sums = {name: sums[name] + value for name, value in figures.items()}
        watch.note(iteration, figures)
        found = watch.look(sums) if iteration % 3 == 0 else None
        assert iteration == 6 or found is None
    assert found is not None
    assert (found.iteration, found.name) == expected


def test_a_skipped_loss_is_not_blamed_for_a_weight() -> None:
    """In float16 a loss that overflows harms nothing, and a statistic that overflows later does."""
    module = TwoNetworks()
    watch = DivergenceWatch(module, SINGLE_PROCESS, skips_overflows=True)
    watch.note(1, {"loss/id": torch.tensor(NAN)})
    module.generator[1].running_mean.fill_(NAN)  # type: ignore[union-attr,operator]
    watch.note(2, {"loss/id": torch.tensor(1.0)})
    finding = watch.look()
    assert finding is not None
    assert (finding.iteration, finding.name) == (2, "generator.1.running_mean")


@pytest.fixture
def config(tiny_config: Config, picture_folder: Callable[..., Path]) -> Config:
    picture_folder()
    training = replace(tiny_config.training, iterations=8, log_every=4, checkpoint_every=3, keep_checkpoints=9)
    return replace(tiny_config, training=training)


def broken_from(iteration: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let G get a weight that is no number in an iteration."""
    original = IntactTask.step

    def step(self: IntactTask, batch: Any, number: int, detailed: bool) -> Record:
        found = original(self, batch, number, detailed)
        if number == iteration - 1:
            with torch.no_grad():
                next(self.networks.generator.parameters())[0] = NAN
        return found

    monkeypatch.setattr(IntactTask, "step", step)


@pytest.mark.parametrize(("iteration", "noticed", "last"), [(4, 4, 3), (5, 6, 3), (1, 3, None)])
def test_it_stops_at_the_last_good_state(
    config: Config, monkeypatch: pytest.MonkeyPatch, iteration: int, noticed: int, last: int | None
) -> None:
    broken_from(iteration, monkeypatch)
    with pytest.raises(UserError) as stopped:
        Run(config, SINGLE_PROCESS).execute()
    text = str(stopped.value)
    stopped_at = "" if noticed == iteration else f" at {noticed}"
    assert f" is not a number at iteration {iteration}, stopped{stopped_at}; " in text
    assert "INTACT: generator." in text
    assert "lower --optimiser.generator-learning-rate" in text
    assert ("nothing was saved before" if last is None else f"the last good state is {config.runs}") in text
    checkpoints = sorted((config.runs / config.name / "checkpoints").glob("*.pt"))
    assert [path.name for path in checkpoints if path.name != "critic.pt"] == [
        f"iteration_{number:08d}.pt" for number in (3, 6) if last is not None and number <= last
    ]
    for path in checkpoints[1:]:
        networks = read_checkpoint(path, "--x")["state"]["networks"]
        assert all(value.isfinite().all() for name, value in networks.items() if name.startswith("generator."))


def test_a_learning_rate_that_is_far_too_high(config: Config) -> None:
    high = replace(config, optimiser=replace(config.optimiser, generator_learning_rate=1e30))
    with pytest.raises(UserError, match=r"INTACT: .* is not a number at iteration \d+, stopped.*; .*precision fp32"):
        Run(high, SINGLE_PROCESS).execute()


def test_a_critic_that_diverges(config: Config) -> None:
    critic = replace(config.critic, iterations=6, learning_rate=1e30)
    with pytest.raises(UserError, match=r"critic: .* is not a number at iteration \d, .*lower --critic\.learning-rate"):
        Run(replace(config, critic=critic), SINGLE_PROCESS).execute()
    assert not list((config.runs / config.name / "checkpoints").rglob("*.pt"))
