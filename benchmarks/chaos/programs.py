"""Commands as users start them: processes of their own, of which some run at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 300.0
"""Longest that a process may take until it trains, or to evaluate and end, on a machine that others use."""


def command(module: str, options: Sequence[object], processes: int = 1) -> list[str]:
    """Give the command line of a module of the package, under torchrun where there are several processes."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*start, module, *map(str, options)]


def start(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> subprocess.Popen[str]:
    """Start a command in the repository's root with one thread, in a session of its own."""
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
    commands: Mapping[str, Sequence[str]], environments: Mapping[str, Mapping[str, str]] | None = None, at_once: int = 2
) -> dict[str, str]:
    """Run commands, some at once; give the output of each that failed, by its name."""

    def finish(name: str) -> tuple[int, str]:
        process = start(commands[name], (environments or {}).get(name))
        output, _ = process.communicate()
        return process.returncode, output.strip()[-300:]

    with ThreadPoolExecutor(at_once) as lanes:
        ended = dict(zip(commands, lanes.map(finish, commands), strict=True))
    return {name: output for name, (status, output) in ended.items() if status != 0}


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Say whether a condition came true in so many seconds."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held
