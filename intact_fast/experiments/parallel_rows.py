"""Rows of a table at the same time, each in a process of its own, on the machine's GPUs in turn or on its cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

import torch

from intact_fast.config.options import Config
from intact_fast.errors import UserError, mistake_of
from intact_fast.experiments.measured import Measured
from intact_fast.experiments.results import RowResult
from intact_fast.experiments.table_runs import TableRuns, log_file, row_name
from intact_fast.terminal import print_any_character
from intact_fast.training.distributed.cpu_threads import use_cores
from intact_fast.training.distributed.process import Interrupted, process_group


class SeededRow(NamedTuple):
    """A row and its seed."""

    recipe: str
    seed: int

    def folder_name(self, base: Config) -> str:
        """Name of the row's folder."""
        return row_name(self.recipe, self.seed, base)


@dataclass
class _Worker:
    """One of the processes, with the row that it runs."""

    process: SpawnProcess
    connection: Connection
    row: SeededRow | None = None


def run_in_parallel(
    base: Config, measured: Measured, planned: Sequence[SeededRow], jobs: int
) -> Generator[tuple[SeededRow, RowResult | UserError], None, None]:
    """Run rows, several at a time, and give each as it is done, or why it cannot be run.

    What rows share must be there (:meth:`TableRuns.prepare`). What a row prints goes to ``logs/`` in the table's
    folder. Stopping, for whatever reason, asks the processes to save what they train and to end.

    Args:
        base: Configuration that recipes change.
        measured: What is measured of every row.
        planned: Which rows, in the order in which they are begun.
        jobs: How many at a time.

    Raises:
        UserError: A process died.
        Interrupted: Its process was asked to stop.
    """
    left = list(reversed(planned))
    count = min(jobs, len(planned))
    workers = [_start(base, measured, number, count) for number in range(count)]
    try:
        for worker in workers:
            _give(worker, left.pop())
        while busy := {w.connection: (w, w.row) for w in workers if w.row is not None}:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, row = busy[connection]
                result = _take(worker, row, base)
                if left:
                    _give(worker, left.pop())
                yield row, result
    finally:
        for worker in workers:
            if worker.row is not None:
                worker.process.terminate()
            worker.connection.close()
        for worker in workers:
            worker.process.join()


def _start(base: Config, measured: Measured, number: int, count: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, base, measured, number, count))
    # inherited: a Ctrl-C is for this process, which asks whoever is at something to stop
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, previous)
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, row: SeededRow) -> None:
    worker.row = row
    # one that died is noticed when its answer is taken
    with contextlib.suppress(ConnectionError):
        worker.connection.send(row)


def _take(worker: _Worker, row: SeededRow, base: Config) -> RowResult | UserError:
    try:
        outcome = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        name = row.folder_name(base)
        log = log_file(base.runs / base.name, name)
        details = f"; {log} says more" if log.is_file() else ""
        raise UserError(
            f"--jobs: the process of {name} ended with exit status {worker.process.exitcode}{details} (where memory "
            "was short, use fewer)"
        ) from None
    worker.row = None
    if isinstance(outcome, Interrupted):
        raise outcome
    assert isinstance(outcome, RowResult | UserError)
    return outcome


def _work(connection: Connection, base: Config, measured: Measured, number: int, count: int) -> None:
    """Run the rows that come through the connection, until it is closed."""
    _end_with_parent()
    # asks a training to save, and nobody else for anything
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    print_any_character()
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(number % torch.cuda.device_count())
    use_cores()
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    with process_group(base.device) as process:
        runs = TableRuns(base, process, measured, concurrent=True)
        while True:
            try:
                row = connection.recv()
            except (EOFError, ConnectionError):
                return
            try:
                _write_to(log_file(runs.folder, row.folder_name(base)))
                outcome: RowResult | UserError | Interrupted = runs.attempt(*row)
            except OSError as error:
                mistake = mistake_of(error)
                if mistake is None:
                    raise
                outcome = mistake
            except Interrupted:
                outcome = Interrupted()
            if isinstance(outcome, UserError):
                print(f"error: {outcome}", flush=True)
            with contextlib.suppress(ConnectionError):
                connection.send(outcome)


def _end_with_parent() -> None:
    """Stop as at SIGTERM when the parent has gone, however it went; the connection tells so between two rows only."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _write_to(path: Path) -> None:
    """Let this process and its children write to a file what they would print."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for output in (1, 2):
        os.dup2(file, output)
    os.close(file)
