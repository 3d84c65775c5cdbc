"""Commands in children of a warm process, which begin without importing PyTorch and die when and where it is asked.

A child's changes of files are counted by Python's audit hooks on a board that parent and child share. So a child can be
killed before its n-th change, and its parent can wait until the n-th and kill it then.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import mmap
import multiprocessing
import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

STAGES = ("start", "critic", "G", "validation", "checkpoint", "evaluation", "report")
"""What a training is at."""
_CRASHED = 70
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
"""Any of these flags opens a file to be written."""
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_AT_ONCE = 2
_works: Sequence[Callable[[], Any]] = ()
"""What forked processes do; functions in functions cannot be handed to them otherwise."""
_PAUSE = 0.001
_PR_SET_PDEATHSIG = 1
_LONGEST = 300.0
_STACKS_AFTER = 280.0


class Board:
    """What children tell their parent while they live: stage and number of changes of files."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    @property
    def stage(self) -> str:
        return STAGES[struct.unpack_from("q", self._memory, 0)[0]]

    @stage.setter
    def stage(self, name: str) -> None:
        struct.pack_into("q", self._memory, 0, STAGES.index(name))

    @property
    def changes(self) -> int:
        return int(struct.unpack_from("q", self._memory, 8)[0])

    def count(self) -> int:
        struct.pack_into("q", self._memory, 8, self.changes + 1)
        return self.changes


@dataclass
class Children:
    """Processes that do one thing together: one, or a group as torchrun makes it.

    Attributes:
        log: Takes what they print.
        board: What rank 0 tells.
        processes: Their numbers.
    """

    log: Path
    board: Board = field(default_factory=Board)
    processes: list[int] = field(default_factory=list)

    def kill(self) -> list[int]:
        """Kill them with all that they have started, and wait until they are gone; their exit statuses."""
        for process in self.processes:
            os.killpg(process, signal.SIGKILL)
        return self.wait()

    def wait(self) -> list[int]:
        """Wait for their exit statuses; a signal's is negative.

        Raises:
            TimeoutError: They go on; they are killed.
        """
        end = time.monotonic() + _LONGEST
        statuses: dict[int, int] = {}
        while len(statuses) < len(self.processes):
            for process in self.processes:
                if process not in statuses and (ended := os.waitpid(process, os.WNOHANG))[0]:
                    statuses[process] = os.waitstatus_to_exitcode(ended[1])
            if time.monotonic() > end:
                for process in set(self.processes) - statuses.keys():
                    os.killpg(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                raise TimeoutError(f"{self.log}: goes on for more than {_LONGEST:.0f} s: {end_of(self.log, 3000)}")
            time.sleep(_PAUSE)
        return [statuses[process] for process in self.processes]

    def run_until(self, reached: Callable[[Board], bool]) -> bool:
        """Wait until the board says so; False where the children end before.

        Raises:
            TimeoutError: It never does.
        """
        end = time.monotonic() + _LONGEST
        while not reached(self.board):
            # they stay to be waited for
            if os.waitid(os.P_PID, self.processes[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"{self.log}: not reached within {_LONGEST:.0f} s: {end_of(self.log, 3000)}")
            time.sleep(_PAUSE)
        return True


def start(
    work: Callable[[], int],
    log: Path,
    below: Path,
    count: int = 1,
    die_before: int | None = None,
    prepare: Callable[[Board], None] = lambda board: None,
) -> Children:
    """Fork children that do some work and end with what it returns.

    Args:
        work: Runs a command; its exit status.
        log: Takes what they print.
        below: Folder whose changes are counted.
        count: Processes; several are a group of torchrun's variables.
        die_before: Kill rank 0 before that change, from 1 on.
        prepare: Called in each child first.
    """
    children = Children(log)
    port = _free_port()
    for rank in range(count):
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environment = {**group, "MASTER_ADDR": "localhost", "MASTER_PORT": port} if count > 1 else {}
        process = os.fork()
        if process == 0:
            counted = children.board if rank == 0 else Board()
            _be_a_child(work, log, environment, counted, below, die_before if rank == 0 else None, prepare)
        # also here, as the parent may kill before the child has come so far, which may be another program already
        with suppress(PermissionError):
            os.setpgid(process, process)
        children.processes.append(process)
    return children


def _be_a_child(
    work: Callable[[], int],
    log: Path,
    environment: Mapping[str, object],
    board: Board,
    below: Path,
    die_before: int | None,
    prepare: Callable[[Board], None],
) -> None:
    status = _CRASHED
    try:
        os.setpgid(0, 0)
        # a campaign that is itself killed leaves nobody behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        faulthandler.dump_traceback_later(_STACKS_AFTER, file=sys.stderr)
        os.environ.update({name: str(value) for name, value in environment.items()})
        prepare(board)
        _count_changes(board, os.fspath(below), die_before)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        # a child never leaves here, not even where its last words find no room
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _count_changes(board: Board, below: str, die_before: int | None) -> None:
    def look(event: str, arguments: Sequence[object]) -> None:
        if event != "open" and event not in _CHANGES:
            return
        path = arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(below) and board.count() == die_before:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do works, two at a time, each in a fork of this process that starts children of its own; what they give."""
    global _works
    _works = works
    with ProcessPoolExecutor(_AT_ONCE, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(_do, range(len(works))))


def _do(number: int) -> Any:
    return _works[number]()


def run_undisturbed(
    work: Callable[[], int], log: Path, below: Path, prepare: Callable[[Board], None] = lambda board: None
) -> Children:
    """Do some work in a child, and import here what it has imported, so that later children need not."""
    names = log.with_suffix(".modules")

    def tell() -> int:
        status = work()
        names.write_text("\n".join(sys.modules), encoding="utf-8")
        return status

    children = start(tell, log, below, prepare=prepare)
    (status,) = children.wait()
    assert status == 0, end_of(log)
    for name in names.read_text(encoding="utf-8").splitlines():
        # what was made while the work was done is found nowhere
        with suppress(ImportError):
            importlib.import_module(name)
    return children


def said(log: Path) -> str:
    """Give what children printed, on one line."""
    return " ".join(log.read_text(encoding="utf-8", errors="replace").split())


def end_of(log: Path, length: int = 300) -> str:
    """Give the end of what children printed, on one line."""
    return said(log)[-length:]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])
