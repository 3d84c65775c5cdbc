"""The loop around a task: batches, records, checkpoints, validation, stopping and resuming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from intact_fast.data.batches import Batch
from intact_fast.data.loader import TrainLoader
from intact_fast.data.plan import Position
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import Interrupted, Process, StopRequest
from intact_fast.training.monitoring import Monitor, RecordAverage
from intact_fast.training.step.shared import Record


class Task(Protocol):
    """Something that is trained iteration by iteration."""

    name: str
    iterations: int

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


def run_task(
    task: Task,
    loader: TrainLoader,
    store: CheckpointStore,
    process: Process,
    monitor: Monitor,
    cadence: Cadence,
    fingerprint: Fingerprint,
    validate: Validate | None = None,
) -> float | None:
    """Train a task to its last iteration, resuming from its latest checkpoint.

    The state is saved every ``cadence.checkpoint`` iterations, at the end, and when a process is
    asked to stop.

    Returns:
        The best validation score, None without validation.

    Raises:
        Interrupted: A process was asked to stop; the state is saved.
        UserError: The latest checkpoint does not belong to this run.
    """
    iteration, position, best = _resume(task, loader, store, process, monitor, fingerprint)
    if iteration >= task.iterations:
        return best

    def save() -> None:
        with monitor.paused():
            ranks = process.gather(_rank_state(task, process))
            if process.is_main:
                store.save(_checkpoint(task, iteration, position, best, ranks, process, fingerprint), iteration)

    averages = RecordAverage()
    monitor.begin_task(task.name, task.iterations, iteration)
    with StopRequest(process) as stop, closing(loader.iterate(position)) as batches:
        for batch in _marked(batches):
            iteration += 1
            detailed = _due(iteration, cadence.log) or iteration == task.iterations
            record = task.step(batch, iteration - 1, detailed)
            averages.add(record)
            position = batch.next_position
            monitor.advance(len(batch.label) * process.world_size)
            if detailed:
                monitor.record(iteration, averages.take(record))
            last = iteration == task.iterations
            stopping = stop.agreed()
            if validate is not None and (last or _due(iteration, cadence.validate)):
                try:
                    with monitor.paused():
                        best = _validate(task, validate, store, process, monitor, iteration, best, fingerprint)
                except UserError:
                    save()
                    raise
            if last or stopping or _due(iteration, cadence.checkpoint):
                save()
            if stopping:
                monitor.end_task()
                monitor.say(f"Stopped at iteration {iteration}, state saved; run the same command to go on.")
                raise Interrupted
            if last:
                break
    monitor.end_task()
    return best


def _marked(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Let a picture that only one process reads be named by that process."""
    try:
        yield from batches
    except UserError as error:
        error.one_process = True
        raise


def _due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def _validate(
    task: Task,
    validate: Validate,
    store: CheckpointStore,
    process: Process,
    monitor: Monitor,
    iteration: int,
    best: float | None,
    fingerprint: Fingerprint,
) -> float:
    score = validate(iteration)
    if best is not None and score <= best:
        return best
    if process.is_main:
        store.save_best(
            {"iteration": iteration, "score": score, "state": task.state(), **vars(fingerprint)},
        )
    return score


def _checkpoint(
    task: Task,
    iteration: int,
    position: Position,
    best: float | None,
    ranks: list[dict[str, Any]],
    process: Process,
    fingerprint: Fingerprint,
) -> dict[str, Any]:
    return {
        "task": task.name,
        "iteration": iteration,
        "position": tuple(position),
        "best": best,
        "world_size": process.world_size,
        "ranks": ranks,
        "state": task.state(),
        **vars(fingerprint),
    }


def _rank_state(task: Task, process: Process) -> dict[str, Any]:
    """What differs between processes: random state and batch statistics."""
    state: dict[str, Any] = {
        "rng": torch.get_rng_state(),
        "buffers": {name: buffer.cpu() for name, buffer in task.module.named_buffers()},
    }
    if process.device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state(process.device)
    return state


def _resume(
    task: Task,
    loader: TrainLoader,
    store: CheckpointStore,
    process: Process,
    monitor: Monitor,
    fingerprint: Fingerprint,
) -> tuple[int, Position, float | None]:
    path = process.on_main(store.latest)
    if path is None:
        return 0, Position(0, 0), None
    checkpoint = read_checkpoint(path, "--name: checkpoint")
    if checkpoint["manifest_hash"] != fingerprint.manifest_hash:
        raise UserError(
            f"{path}: trained on another split (manifest {checkpoint['manifest_hash'][:12]}, now "
            f"{fingerprint.manifest_hash[:12]}); use another --name"
        )
    try:
        task.load_state(checkpoint["state"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: holds networks of another architecture; use another --name") from error
    iteration, position = checkpoint["iteration"], Position(*checkpoint["position"])
    if iteration > task.iterations:
        raise UserError(
            f"{path}: {task.name} was trained for {iteration} iterations already, {task.iterations} are asked for; "
            "use another --name"
        )
    if iteration < task.iterations:
        monitor.say(f"Resuming {task.name} at iteration {iteration} from {path}")
    if checkpoint["world_size"] == process.world_size:
        _load_rank_state(task, process, checkpoint["ranks"][process.rank])
    elif iteration < task.iterations:
        monitor.say(
            f"The checkpoint is of {checkpoint['world_size']} processes, now there are {process.world_size}: "
            f"epoch {position.epoch} starts again from its first batch."
        )
        position = Position(position.epoch, 0)
    if position.step > loader.steps_per_epoch:
        position = Position(position.epoch, 0)
    return iteration, position, checkpoint["best"]


def _load_rank_state(task: Task, process: Process, state: dict[str, Any]) -> None:
    torch.set_rng_state(state["rng"])
    if process.device.type == "cuda" and "cuda_rng" in state:
        torch.cuda.set_rng_state(state["cuda_rng"], process.device)
    buffers: dict[str, Tensor] = dict(task.module.named_buffers())
    for name, value in state["buffers"].items():
        buffers[name].copy_(value)
