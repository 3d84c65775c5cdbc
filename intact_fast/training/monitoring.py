"""The monitor of a run: it shows progress, and writes metrics.jsonl and TensorBoard's events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from intact_fast.errors import UserError
from intact_fast.reporting.console import make_console
from intact_fast.training.diagnostics import CollapseAlarm
from intact_fast.training.figures import FigureFiles
from intact_fast.training.step.iteration import Record

_SHOWN = {
    "loss/critic": "loss",
    "critic/accuracy": "accuracy",
    "loss/discriminator": "D",
    "loss/mse": "mse",
    "loss/gan": "gan",
    "loss/id": "id",
    "loss/feature": "f",
    "loss/dis_sr": "dis",
    "association/r2_recent": "R²",
}


class RecordAverage:
    """Means of an iteration's figures since the last look at them, summed on the device.

    Figures that only detailed iterations have, such as gradient norms, stay those of that iteration.
    """

    def __init__(self) -> None:
        self._sums: Record = {}
        self._count = 0

    def add(self, record: Record) -> None:
        """Take in one iteration."""
        if not self._sums:
            self._sums = {name: value.clone() for name, value in record.items()}
        else:
            # an iteration has all figures of the first one since the last look, and a detailed one more
            values = [record[name] for name in self._sums]
            torch._foreach_add_(list(self._sums.values()), values)
        self._count += 1

    def take(self, last: Record) -> Record:
        """Give the means, and what only the ``last`` record has, and start again."""
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return last | means

    def state(self) -> dict[str, Any]:
        """Sums and count since the last look, for a checkpoint that lies between two."""
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "count": self._count}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Carry on from :meth:`state`."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._count = state["count"]


class Monitor:
    """Progress and metrics of one run; silent and inactive where ``folder`` is None.

    On a terminal a progress bar is redrawn; elsewhere each record is one line.

    Args:
        folder: The run's folder, None on processes that must not speak.
        console: Where to print.
    """

    def __init__(self, folder: Path | None, console: Console | None = None) -> None:
        self._folder = folder
        self.console = console or make_console(quiet=folder is None)
        self._files: FigureFiles | None = None
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._has_lost = False
        self._task = ""
        self._total = 0
        self._alarm = CollapseAlarm()
        self._restart_clock()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_task()

    def say(self, text: str) -> None:
        """Print one line, above the progress bar where there is one."""
        try:
            self.console.print(text, markup=False)
        except BrokenPipeError:
            raise
        except OSError:
            # a log on a full disk, or a terminal that has gone, ends no training; the command tells at its end
            return

    def begin_task(self, name: str, iterations: int, start: int) -> None:
        """Show the progress of a training from ``start`` to ``iterations``."""
        self._task, self._total = name, iterations
        self._open_files(start)
        self._alarm = CollapseAlarm()
        self._restart_clock()
        if self._folder is None or not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self._progress.start()
        self._bar = self._progress.add_task(name, total=iterations, completed=start, figures="")

    def end_task(self) -> None:
        """Take the progress bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of img/s what is done inside (validating, saving)."""
        begin = time.perf_counter()
        yield
        self._clock += time.perf_counter() - begin

    def advance(self, images: int) -> None:
        """Count one iteration over ``images`` pictures (all processes together)."""
        self._images += images
        self._steps += 1
        if self._progress is not None and self._bar is not None:
            self._progress.advance(self._bar)

    def record(self, iteration: int, record: Record) -> None:
        """Store an iteration's figures; the one place where the host waits for the device."""
        if self._folder is None:
            return
        values = dict(zip(record, torch.stack([v.float() for v in record.values()]).tolist(), strict=True))
        seconds = time.perf_counter() - self._clock
        values["img_per_s"] = self._images / seconds
        self.store(iteration, values)
        for warning in self._alarm.look(values):
            self.say(f"warning: {self._task} {iteration}: {warning}")
        figures = "  ".join(f"{short} {values[name]:.3f}" for name, short in _SHOWN.items() if name in values)
        figures = f"{values['img_per_s']:.0f} img/s  {figures}"
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, figures=figures)
        else:
            left = timedelta(seconds=round((self._total - iteration) * seconds / self._steps))
            self.say(f"{self._task} {iteration}/{self._total}  ETA {left}  {figures}")
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._clock = time.perf_counter()
        self._images = self._steps = 0

    def store(self, iteration: int, values: dict[str, float]) -> None:
        """Append figures to metrics.jsonl and TensorBoard without showing them."""
        if self._files is None:
            return
        try:
            self._files.add(iteration, values)
        except OSError as error:
            self._lose_figures(error)

    def _open_files(self, start: int) -> None:
        if self._folder is None:
            return
        try:
            self._files = FigureFiles(self._folder, self._task, start)
        except (UserError, OSError) as error:
            self._lose_figures(error)

    def _lose_figures(self, error: Exception) -> None:
        """Say once that figures are lost: a training is worth more than its curves."""
        if not self._has_lost:
            self.say(f"warning: {self._folder}: figures of the training are not written ({error}); it goes on without")
        self._has_lost = True
