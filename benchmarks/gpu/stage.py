"""What all stages share: their time, their outcome and their record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record

PACKAGES = ("torch", "triton", "nvidia-dali-cuda130", "numpy")


class Clock:
    """The time that a stage may take; what no longer fits is left out and named.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(self._end - time.monotonic(), 0.0)

    def has(self, seconds: float) -> bool:
        """Whether so many are left."""
        return self.left() >= seconds


@dataclass(frozen=True)
class Task:
    """What a stage is given.

    Attributes:
        device: Where it measures.
        smoke: Tiny sizes, to see that everything runs; its figures say nothing.
        clock: How long it may take.
        part: Which of how many parts, from 1; only `correctness` has parts.
        words: Options of a training, as on its command line.
    """

    device: torch.device
    smoke: bool
    clock: Clock
    part: tuple[int, int] = (1, 1)
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a stage found.

    Attributes:
        headline: One sentence with the main figure.
        figures: For the record.
        table: Lines to print.
        passed: Whether everything was as it should be.
        kind: Of the record.
        left_out: What no longer fitted.
    """

    headline: str
    figures: Mapping[str, Any]
    table: Sequence[str]
    passed: bool = True
    kind: str = "speed"
    left_out: Sequence[str] = field(default_factory=tuple)


Stage = Callable[[Task], Outcome]


def run_stage(name: str, stage: Stage, task: Task, command: str, folder: Path) -> bool:
    """Run a stage, write its record and print its table last.

    Args:
        name: Of the stage.
        stage: Measures.
        task: What it is given.
        command: As it was started, for the record.
        folder: Where the record goes.

    Returns:
        Whether it passed.
    """
    begin = time.monotonic()
    outcome = stage(task)
    seconds = time.monotonic() - begin
    cut = [f"Left out, as the stage's time was over: {', '.join(outcome.left_out)}."] if outcome.left_out else []
    notes = [*cut, *(["A smoke run of tiny sizes: its figures say nothing."] if task.smoke else [])]
    cuda = {} if torch.version.cuda is None else {"cuda": torch.version.cuda}
    record = {
        "kind": outcome.kind,
        "headline": "A smoke run; its figures say nothing." if task.smoke else outcome.headline,
        "machine": _machine(task.device),
        "versions": {**cuda, **versions(*PACKAGES)},
        "commands": {name: command},
        **({"notes": notes} if notes else {}),
        "stage": name,
        "passed": outcome.passed,
        "seconds": rounded(seconds),
        **rounded(dict(outcome.figures)),
    }
    suffix = "-smoke" if task.smoke else ""
    path = write_record(record, f"{name_of_machine(task.device)}-{name}{suffix}", folder)
    print(f"record: {path}\n\n{name}, {seconds:.0f} s" + (" (smoke: these figures say nothing)" if task.smoke else ""))
    for line in (*outcome.table, *cut):
        print(line)
    print(f"{name}: {'passed' if outcome.passed else 'FAILED'}. {'' if task.smoke else outcome.headline}".rstrip())
    return outcome.passed


def _machine(device: torch.device) -> dict[str, str]:
    machine = machine_of(device)
    if device.type != "cuda":
        return machine
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return {**machine, "note": f"{torch.cuda.device_count()} GPU(s) of {memory:.1f} GiB"}
