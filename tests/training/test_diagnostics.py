"""Cosines between loss terms, and the alarm for collapse."""

from __future__ import annotations

import pytest
import torch

from intact_fast.training.diagnostics import CollapseAlarm, gradients_at, variety


def test_gradients_at_gives_norms_and_cosines() -> None:
    fake = torch.zeros(1, 1, 1, 2, requires_grad=True)
    x, y = fake.flatten()
    record = gradients_at(fake, {"a": 3 * x, "b": -2 * x, "c": x + y})
    assert record["gradient/fake_a"].item() == pytest.approx(3)
    assert record["gradient/fake_c"].item() == pytest.approx(2**0.5)
    assert record["cosine/a_b"].item() == pytest.approx(-1)
    assert record["cosine/a_c"].item() == pytest.approx(2**-0.5)
    assert fake.grad is None


def test_a_term_without_gradient_has_cosine_zero() -> None:
    fake = torch.ones(1, 3, 2, 2, requires_grad=True)
    other = torch.ones((), requires_grad=True)
    terms = {"a": fake.sum(), "off": 0.0 * fake.sum(), "constant": torch.ones(()), "elsewhere": 2 * other}
    record = gradients_at(fake, terms)
    for name in ("off", "constant", "elsewhere"):
        assert record[f"gradient/fake_{name}"].item() == 0
        assert record[f"cosine/a_{name}"].item() == 0


def test_variety_compares_the_spread_of_pictures() -> None:
    x_h = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert variety(0.5 * x_h + 3, x_h).item() == pytest.approx(0.5)
    assert variety(x_h[:1].expand(8, -1, -1, -1), x_h).item() == 0


HEALTHY = {
    "loss/mse": 0.1,
    "generator/variety": 0.9,
    "association/std_f_e": 1.0,
    "discriminator/accuracy": 0.99,
}


def test_a_healthy_training_is_silent() -> None:
    alarm = CollapseAlarm()
    assert alarm.look(HEALTHY) == []
    assert alarm.look({**HEALTHY, "discriminator/accuracy": 0.7}) == []
    assert alarm.look(HEALTHY) == []
    assert alarm.look({"loss/critic": 1.0}) == []


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"loss/id": float("nan")}, "loss/id is not a number"),
        ({"loss/id": float("inf")}, "loss/id is not a number"),
        ({"generator/variety": 0.05}, "same picture for every input"),
        ({"association/std_f_e": 0.01}, "f_e has shrunk"),
    ],
)
def test_collapse_is_said_once(figures: dict[str, float], expected: str) -> None:
    alarm = CollapseAlarm()
    (warning,) = alarm.look({**HEALTHY, **figures})
    assert expected in warning
    assert alarm.look({**HEALTHY, **figures}) == []


def test_a_discriminator_that_always_wins_is_said_after_three_records() -> None:
    alarm = CollapseAlarm()
    found = [alarm.look(HEALTHY) for _ in range(4)]
    assert [len(warnings) for warnings in found] == [0, 0, 1, 0]
    assert "--optimiser.discriminator-learning-rate" in found[2][0]
