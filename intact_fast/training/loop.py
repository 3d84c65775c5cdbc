"""The loop around a task: batches, records, checkpoints, validation, stopping and resuming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from intact_fast.data.batches import Batch
from intact_fast.data.loader import TrainLoader
from intact_fast.data.plan import Position
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.training.arithmetic import arithmetic_of, describe_changes
from intact_fast.training.checkpoints import CheckpointStore, set_aside
from intact_fast.training.distributed.process import Interrupted, Process
from intact_fast.training.distributed.signals import Requests, Wish
from intact_fast.training.divergence import DivergenceWatch
from intact_fast.training.monitoring import Monitor, RecordAverage
from intact_fast.training.step.iteration import Record


class Task(Protocol):
    """Something that is trained iteration by iteration."""

    name: str
    iterations: int
    remedy: str
    """What to do where it has diverged."""
    precision: torch.dtype | None
    """Autocast type; None for float32. With float16, steps whose gradients overflow are skipped."""

    @property
    def module(self) -> nn.Module:
        """Holds the buffers that differ between processes."""
        ...

    def step(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Train on one batch."""
        ...

    def state(self) -> dict[str, Any]:
        """State to save."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        ...


@dataclass(frozen=True)
class Cadence:
    """Iterations between records, checkpoints and validations; 0 leaves one out."""

    log: int
    checkpoint: int
    validate: int


@dataclass(frozen=True)
class Fingerprint:
    """What must agree between a checkpoint and the run that resumes from it."""

    manifest_hash: str
    config: str


Validate = Callable[[int], float]
"""Scores the current networks on validation identities, higher is better; called on every process, for which it
gives the same score or raises the same UserError."""


class TrainingLoop:
    """Trains a task to its last iteration, resuming from its latest checkpoint.

    The state is saved every ``cadence.checkpoint`` iterations, at the end, and when a process is asked to save or to
    stop. A training that has diverged is stopped, and never saved.

    Args:
        task: What is trained.
        loader: Its batches.
        store: Its checkpoints.
        process: This process among its group.
        monitor: Told how it goes.
        cadence: How often.
        fingerprint: What a checkpoint must agree in.
        validate: Scores the networks; None leaves validation out.
    """

    def __init__(
        self,
        task: Task,
        loader: TrainLoader,
        store: CheckpointStore,
        process: Process,
        monitor: Monitor,
        cadence: Cadence,
        fingerprint: Fingerprint,
        validate: Validate | None = None,
    ) -> None:
        self._task = task
        self._loader = loader
        self._store = store
        self._process = process
        self._monitor = monitor
        self._cadence = cadence
        self._fingerprint = fingerprint
        self._validate = validate
        self._watch = DivergenceWatch(task.module, process, skips_overflows=task.precision == torch.float16)
        self._arithmetic = arithmetic_of(process.device, task.precision)
        self._iteration = 0
        self._position = Position(0, 0)
        self._best: float | None = None
        self._averages = RecordAverage()

    def run(self) -> float | None:
        """Train.

        Returns:
            The best validation score, None without validation.

        Raises:
            Interrupted: A process was asked to stop; the state is saved.
            UserError: The latest checkpoint does not belong to this run, the state cannot be saved, or the training has
                diverged.
        """
        self._resume()
        if self._iteration < self._task.iterations:
            self._monitor.begin_task(self._task.name, self._task.iterations, self._iteration)
            self._train()
            self._monitor.end_task()
        return self._best

    def _train(self) -> None:
        with Requests(self._process) as requests, closing(self._loader.iterate(self._position)) as batches:
            for batch in _marked(batches):
                self._train_on(batch)
                wish = requests.agreed()
                if self._is_last or self._due(self._cadence.validate):
                    self._keep_best()
                if self._is_last or wish or self._due(self._cadence.checkpoint):
                    self._save()
                if wish == Wish.SAVE:
                    self._monitor.say(f"State saved at iteration {self._iteration}, as a signal asked for.")
                if wish == Wish.STOP:
                    self._monitor.end_task()
                    self._monitor.say(
                        f"Stopped at iteration {self._iteration}, state saved; run the same command to go on."
                    )
                    raise Interrupted
                if self._is_last:
                    return

    def _train_on(self, batch: Batch) -> None:
        self._iteration += 1
        detailed = self._is_last or self._due(self._cadence.log)
        record = self._task.step(batch, self._iteration - 1, detailed)
        self._averages.add(record)
        self._watch.note(self._iteration, record)
        self._position = batch.next_position
        self._monitor.advance(len(batch.label) * self._process.world_size)
        if detailed:
            figures = self._averages.take(record)
            self._monitor.record(self._iteration, figures)
            self._refuse_divergence(figures)

    def _refuse_divergence(self, figures: Record | None = None) -> None:
        """End the training where something is not a number, on all processes at the same iteration."""
        found = self._watch.look(figures)
        if found is None:
            return
        kept = self._process.on_main(self._store.latest)
        good = "nothing was saved before" if kept is None else f"the last good state is {kept}"
        at = "" if found.iteration == self._iteration else f" at {self._iteration}"
        self._monitor.end_task()
        raise UserError(
            f"{self._task.name}: {found.name} is not a number at iteration {found.iteration}, stopped{at}; {good}; "
            f"{self._task.remedy}, under another --name"
        )

    @property
    def _is_last(self) -> bool:
        return self._iteration == self._task.iterations

    def _due(self, every: int) -> bool:
        return every > 0 and self._iteration % every == 0

    def _keep_best(self) -> None:
        """Validate, and save the networks where they are the best so far."""
        if self._validate is None:
            return
        self._refuse_divergence()
        try:
            with self._monitor.paused():
                score = self._validate(self._iteration)
                if self._best is None or score > self._best:
                    self._best = score
                    self._save_best(score)
        except UserError:
            self._save()
            raise

    def _save_best(self, score: float) -> None:
        def save() -> None:
            state = {"iteration": self._iteration, "score": score, "state": self._task.state()}
            self._store.save_best({**state, **vars(self._fingerprint)})

        self._process.on_main(save)

    def _save(self) -> None:
        with self._monitor.paused():
            self._refuse_divergence()
            ranks = self._process.gather(self._rank_state())
            self._process.on_main(lambda: self._store.save(self._checkpoint(ranks), self._iteration))

    def _checkpoint(self, ranks: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "task": self._task.name,
            "iteration": self._iteration,
            "position": tuple(self._position),
            "best": self._best,
            "world_size": self._process.world_size,
            "ranks": ranks,
            "state": self._task.state(),
            **vars(self._fingerprint),
        }

    def _rank_state(self) -> dict[str, Any]:
        """What differs between processes: random state, statistics, figures since the last record, and arithmetic."""
        state: dict[str, Any] = {
            "rng": torch.get_rng_state(),
            "buffers": {name: buffer.cpu() for name, buffer in self._task.module.named_buffers()},
            "averages": self._averages.state(),
            "arithmetic": self._arithmetic,
        }
        if self._process.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self._process.device)
        return state

    def _resume(self) -> None:
        """Take up the latest checkpoint, where there is one."""
        read = self._read_latest()
        if read is None:
            return
        path, checkpoint = read
        if checkpoint["manifest_hash"] != self._fingerprint.manifest_hash:
            raise UserError(
                f"{path}: trained on another split (manifest {checkpoint['manifest_hash'][:12]}, now "
                f"{self._fingerprint.manifest_hash[:12]}); use another --name"
            )
        try:
            self._task.load_state(checkpoint["state"])
        # what others wrote can be of any type
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(f"{path}: holds networks of another architecture; use another --name") from error
        self._iteration, self._best = checkpoint["iteration"], checkpoint["best"]
        self._position = Position(*checkpoint["position"])
        if self._iteration > self._task.iterations:
            raise UserError(
                f"{path}: {self._task.name} was trained for {self._iteration} iterations already, "
                f"{self._task.iterations} are asked for; use another --name"
            )
        if not self._is_last:
            self._monitor.say(f"Resuming {self._task.name} at iteration {self._iteration} from {path}")
            if changed := describe_changes(checkpoint["ranks"][0].get("arithmetic", {}), self._arithmetic):
                self._monitor.say(
                    f"The machine is of another kind: {changed}; the run goes on, and its last digits differ from "
                    "those of an unbroken one."
                )
        self._resume_place(checkpoint, path)
        self._process.on_main(self._store.drop_old)

    def _read_latest(self) -> tuple[Path, dict[str, Any]] | None:
        """Read the latest checkpoint that can be read, the same on every process; those after it are set aside."""
        kept: list[dict[str, Any]] = []

        def choose() -> Path | None:
            latest = self._store.read_latest(self._task.name)
            if latest is None:
                return None
            kept.append(latest.checkpoint)
            for path in latest.unreadable:
                aside = set_aside(path)
                self._monitor.say(
                    f"warning: {path} is no readable checkpoint; it is {aside.name} now, and the one before it is taken"
                )
            return latest.path

        path = self._process.on_main(choose)
        if path is None:
            return None
        return path, kept[0] if kept else read_checkpoint(path, "--name: checkpoint")

    def _resume_place(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Go on where each process was, or with another number of them at the epoch's first batch."""
        before, now = checkpoint["world_size"], self._process.world_size
        if before == now:
            self._load_rank_state(checkpoint["ranks"][self._process.rank], path)
        elif not self._is_last:
            self._monitor.say(
                f"The checkpoint is of {before} processes, now there are {now}: "
                f"epoch {self._position.epoch} starts again from its first batch."
            )
            self._position = Position(self._position.epoch, 0)
        if self._position.step > self._loader.steps_per_epoch:
            self._position = Position(self._position.epoch, 0)

    def _load_rank_state(self, state: dict[str, Any], path: Path) -> None:
        try:
            self._take_rank_state(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: holds no state of this process; use another --name") from error

    def _take_rank_state(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["rng"])
        if self._process.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self._process.device)
        # checkpoints of before had none
        if "averages" in state:
            self._averages.load_state(state["averages"], self._process.device)
        buffers: dict[str, Tensor] = dict(self._task.module.named_buffers())
        for name, value in state["buffers"].items():
            buffers[name].copy_(value)


def _marked(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Let a picture that only one process reads be named by that process."""
    try:
        yield from batches
    except UserError as error:
        error.one_process = True
        raise
