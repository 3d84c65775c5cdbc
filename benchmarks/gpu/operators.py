"""Stage ``operators``: the fused operators against eager PyTorch and Inductor."""

from __future__ import annotations

from typing import Any

from benchmarks import operators
from benchmarks.association_step import ITERATIONS, measure_association_step
from benchmarks.gpu.stage import Outcome, Task

SECONDS = 8.0
"""Time that an operator at one shape needs at least, with what Inductor compiles."""


def measure(task: Task) -> Outcome:
    """Measure as many operators and shapes as the time allows, and the step of φ and σ first."""
    forms = ("fused", "eager") if task.smoke else operators.FORMS
    chosen = operators.subjects(task.device, batch=2, most_rows=16) if task.smoke else operators.subjects(task.device)
    step = measure_association_step(task.device, 2 if task.smoke else ITERATIONS)
    size, repeats = (1 << 20, 2) if task.smoke else (operators.COPY_BYTES, operators.REPEATS)
    copy = operators.copy_bandwidth(task.device, size, repeats)
    rows: list[dict[str, Any]] = []
    left_out = []
    for subject in chosen:
        if task.smoke or task.clock.has(SECONDS):
            rows.append(operators.measure_subject(subject, task.device, copy, forms, repeats))
        else:
            left_out.append(f"{subject.name} {subject.shape}")
    figures = {"copy_gb_per_s": copy / 1e9, "operators": rows, "association_step": step}
    table = operators.table_of(rows, step, copy, forms)
    headline = "" if task.smoke else operators.headline(figures)
    return Outcome(headline, figures, table, left_out=left_out)
