from __future__ import annotations

import torch

from intact_fast.training.monitoring import RecordAverage


def record(**figures: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in figures.items()}


def test_figures_are_means_since_the_last_look() -> None:
    averages = RecordAverage()
    first = record(loss=1.0, r2=0.5)
    averages.add(first)
    averages.add(record(loss=2.0, r2=0.0))
    last = record(loss=6.0, r2=1.0, gradient=7.0)
    averages.add(last)
    assert {k: v.item() for k, v in averages.take(last).items()} == {"loss": 3.0, "r2": 0.5, "gradient": 7.0}
    assert first["loss"] == 1.0, "an iteration's own record is left alone"
    averages.add(last)
    assert averages.take(last)["loss"] == 6.0, "nothing is left of what was looked at"
