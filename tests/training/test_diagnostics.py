"""The alarm for collapse."""

from __future__ import annotations

import pytest

from intact_fast.training.diagnostics import CollapseAlarm

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
