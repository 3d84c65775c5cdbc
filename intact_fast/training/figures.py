"""The files of a training's figures: metrics.jsonl, and TensorBoard's events of each task."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from intact_fast.files import append_whole, write_atomically
from intact_fast.json_text import from_json, to_json

_FORMAT = "brain.Event:2"


class FigureFiles:
    """Where the figures of one task go.

    A task that goes on from a checkpoint leaves out what an earlier start has written of later iterations, so that no
    curve doubles back: metrics.jsonl is cut, and TensorBoard is told from where on to forget.

    Args:
        folder: The run's.
        task: Its name.
        start: Iterations that are done.

    Raises:
        UserError: metrics.jsonl cannot be written.
        OSError: The events cannot.
    """

    def __init__(self, folder: Path, task: str, start: int) -> None:
        self._task = task
        self._metrics = folder / "metrics.jsonl"
        _cut(self._metrics, task, start)
        # a folder for each task: TensorBoard forgets all figures of a folder from an iteration on
        events = folder / "tensorboard" / task
        events.mkdir(parents=True, exist_ok=True)
        started = time.time()
        self._events = events / f"events.out.tfevents.{started:.6f}.{socket.gethostname()}.{os.getpid()}"
        first = Event(wall_time=started, step=start + 1, file_version=_FORMAT)
        restart = SessionLog(status=SessionLog.START)
        append_whole(
            self._events,
            _framed(first) + _framed(Event(wall_time=started, step=start + 1, session_log=restart)),
        )

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write figures of an iteration; what is not a number is null in metrics.jsonl.

        Raises:
            OSError: They cannot be written; no half of them is.
        """
        line = to_json({"task": self._task, "iteration": iteration, **values})
        append_whole(self._metrics, f"{line}\n".encode())
        figures = [Summary.Value(tag=f"{self._task}/{name}", simple_value=value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=iteration, summary=Summary(value=figures))
        append_whole(self._events, _framed(event))


def _framed(event: Event) -> bytes:
    """An event as TensorBoard's files hold it."""
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _cut(path: Path, task: str, start: int) -> None:
    """Leave out of metrics.jsonl what a task has logged after an iteration, and lines that a crash has torn."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    kept = "".join(f"{line}\n" for line in text.splitlines() if _stays(line, task, start))
    # a whole line whose end is torn off would have the next one on it
    if kept != text:
        with write_atomically(path) as temporary:
            temporary.write_text(kept, encoding="utf-8")


def _stays(text: str, task: str, start: int) -> bool:
    try:
        line = from_json(text)
    except ValueError:
        return False
    if not isinstance(line, dict):
        return False
    iteration = line.get("iteration", 0)
    return line.get("task") != task or (isinstance(iteration, int) and iteration <= start)
