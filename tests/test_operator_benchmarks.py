"""The GPU benchmarks' own code, at sizes at which a CPU gets through it."""

from __future__ import annotations

import torch

from benchmarks import association_step, operators

CPU = torch.device("cpu")


def test_every_operator_is_measured() -> None:
    rows = [
        operators.measure_subject(subject, CPU, 1e9, ("fused", "eager"), repeats=1)
        for subject in operators.subjects(CPU, batch=2, most_rows=16)
    ]
    assert {row["operator"] for row in rows} == {
        "pixel_shuffle_act",
        "pixel_shuffle_act + skip",
        "batch_norm_act relu",
        "batch_norm_act relu + residual",
        "batch_norm_act leaky_relu",
    }
    assert all(row[form]["forward_us"] > 0 for row in rows for form in ("fused", "eager"))
    assert operators.copy_bandwidth(CPU, size=1 << 20, repeats=3) > 1e6


def test_both_forms_of_the_association_step_are_measured() -> None:
    figures = association_step.measure_association_step(CPU, iterations=2)
    assert figures.keys() == {"eager", "fused"}
