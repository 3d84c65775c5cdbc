"""Commands as users start them: processes of their own, of which some run at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LONGEST_S = 600.0
START_S = 300.0
"""Longest that a process may take until it trains, or to evaluate and end, on a machine that others use."""


def command(module: str, options: Sequence[object], processes: int = 1, restarts: int = 0) -> list[str]:
    """Give the command line of a module of the package, under torchrun where there are several processes."""
    start = [sys.executable, "-m"]
    if processes > 1:
        group = (f"--nproc-per-node={processes}", f"--max-restarts={restarts}")
        start += ["torch.distributed.run", "--standalone", *group, "-m"]
    return [*start, module, *map(str, options)]


def start(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> subprocess.Popen[str]:
    """Start a command in the repository's root, in a session of its own, with one thread unless variables say more."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **(environment or {})}
    # a number of its own would be the lesser of both
    variables["MKL_NUM_THREADS"] = variables["OMP_NUM_THREADS"]
    output = subprocess.PIPE if log is None else log.open("w")
    try:
        return subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=variables,
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        if log is not None:
            output.close()  # type: ignore[union-attr]


def finish_all(
    commands: Mapping[str, Sequence[str]], environments: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, str]:
    """Run commands, two at a time; give the output of each that failed, by its name."""

    def finish(name: str) -> tuple[int, str]:
        process = start(commands[name], (environments or {}).get(name))
        return output_of(process)

    with ThreadPoolExecutor(2) as lanes:
        ended = dict(zip(commands, lanes.map(finish, commands), strict=True))
    return {name: output[-300:] for name, (status, output) in ended.items() if status != 0}


def output_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a program; its status and what it printed. One that goes on for too long is killed."""
    try:
        output, _ = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        kill(process)
        return -signal.SIGKILL, f"goes on for more than {_LONGEST_S:.0f} s"
    return process.returncode, (output or "").strip()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a program with all that it has started, where any of it is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children_of(pid: int) -> list[int]:
    """Give the processes that a process has started and that are there."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        # a thread may end meanwhile
        with suppress(FileNotFoundError, ProcessLookupError):
            children += [int(child) for child in task.read_text(encoding="ascii").split()]
    return children


def descendants(pid: int) -> list[int]:
    """Give the processes below one, its children first."""
    children = children_of(pid)
    return [*children, *(further for child in children for further in descendants(child))]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Say whether a condition came true in so many seconds."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held
