"""Tables whose rows run beside each other, killed at any moment with all their processes."""

from __future__ import annotations

from benchmarks.chaos.killed_commands import kill
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_commands import table_of_rows
from benchmarks.chaos.tiny_runs import draw_pictures


def run(trial: Trial) -> list[Promise]:
    """Kill tables."""
    return [kill(trial, table_of_rows(draw_pictures(trial.folder)))]
