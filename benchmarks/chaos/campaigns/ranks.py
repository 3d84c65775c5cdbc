"""Processes of torchrun that die or hang: the run goes on by itself, or ends within the stated time."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmarks.chaos.children import Board, Children, end_of, start, warm_up
from benchmarks.chaos.equal_runs import differences, leftovers
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, draw_pictures, training
from intact_fast.training.distributed import process as processes
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.iteration import Record

_DEATHS = 20
_RESTARTS = 6
"""Deaths within one start of torchrun."""
_BY_COMMAND = 2
"""Deaths within the start of its true command line, whose workers import PyTorch at each restart."""
_HANGS = 4
_HANG = 5.0
"""Seconds after which a process counts as hanging, in place of the ten minutes of a training."""
_SLACK = 5.0
_LONGEST = 60.0
_PAUSE = 0.005


def run(trial: Trial) -> list[Promise]:
    """Kill ranks, and let some hang."""
    pictures = draw_pictures(trial.folder)
    warm_up(training(pictures, trial.folder / "warm"), trial.folder / "warm.log", trial.folder)
    begin = time.perf_counter()
    whole = start(training(pictures, trial.folder / "whole"), trial.folder / "whole.log", trial.folder, 2)
    assert not any(whole.wait()), whole.log.read_text()
    setting = _Setting(trial, pictures, trial.folder / "whole" / "default", time.perf_counter() - begin)
    return [_deaths(setting), _hangs(setting)]


@dataclass(frozen=True)
class _Setting:
    """What both parts need.

    Attributes:
        trial: The campaign's.
        pictures: What is trained on.
        whole: Folder of an undisturbed run of two processes.
        seconds: How long that took.
    """

    trial: Trial
    pictures: Path
    whole: Path
    seconds: float

    def faults_of(self, runs: Path) -> list[str]:
        return [*differences(self.whole, runs / "default"), *leftovers(runs)]


def _deaths(setting: _Setting) -> Promise:
    promise = Promise("A run under torchrun whose ranks die finishes with the files of an unbroken one, bit for bit")
    draw = random.Random(setting.trial.seed)
    left = setting.trial.count(_DEATHS)
    promise.figures["of them under the true command line"] = _BY_COMMAND if left > _RESTARTS else 0
    starts = 0
    while left > 0:
        starts += 1
        by_command = starts == 1 and left > _RESTARTS
        runs = setting.trial.folder / f"deaths{starts}"
        launch = _command_line if by_command else _forking_agent
        agent = start(launch(setting.pictures, runs), runs.with_suffix(".log"), runs)
        killed = _kill_ranks(agent, runs, draw, min(left, _BY_COMMAND if by_command else _RESTARTS), setting.seconds)
        left -= killed
        (status,) = agent.wait()
        found = setting.faults_of(runs) if status == 0 else [f"status {status}: {end_of(agent.log)}"]
        for _ in range(killed):
            promise.test(not found, f"{runs}: {', '.join(found[:4])}")
    return promise


def _command_line(pictures: Path, runs: Path) -> Callable[[], int]:
    """Become torchrun."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={_BY_COMMAND}")
    words = (*torchrun, "-m", "intact_fast.train", *OPTIONS, "--data.root", str(pictures), "--runs", str(runs))

    def become() -> int:
        os.execv(sys.executable, (sys.executable, *words))

    return become


def _forking_agent(pictures: Path, runs: Path) -> Callable[[], int]:
    """Be torchrun's agent, with workers that are forked: they need not import PyTorch."""

    def work() -> None:
        sys.exit(training(pictures, runs)())

    def launch() -> int:
        config = LaunchConfig(
            1,
            1,
            2,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=_RESTARTS,
            start_method="fork",
        )
        elastic_launch(config, work)()
        return 0

    return launch


def _kill_ranks(agent: Children, runs: Path, draw: random.Random, deaths: int, seconds: float) -> int:
    """Kill a rank at a drawn moment after each start of the workers; how many were killed before the run's end."""
    (number,) = agent.processes
    config = runs / "default" / "config.yaml"
    for killed in range(deaths):
        before = config.stat().st_mtime_ns if config.exists() else 0
        # each start writes it
        if not agent.run_until(partial(_is_newer, config, before)):
            return killed
        end = time.perf_counter() + draw.uniform(0, 0.8) * seconds
        if not agent.run_until(partial(_is_over, end)):
            return killed
        workers = _workers_of(number)
        if not workers:
            return killed
        os.kill(draw.choice(workers), signal.SIGKILL)
    return deaths


def _is_newer(file: Path, before: int, board: Board) -> bool:
    return file.exists() and file.stat().st_mtime_ns > before


def _is_over(end: float, board: Board) -> bool:
    return time.perf_counter() >= end


def _workers_of(agent: int) -> list[int]:
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text(encoding="ascii").split()
    helper = b"multiprocessing.resource_tracker"
    return [int(child) for child in children if helper not in Path(f"/proc/{child}/cmdline").read_bytes()]


def _hangs(setting: _Setting) -> Promise:
    promise = Promise(
        "A rank that hangs in an iteration ends the others within the stated time, and the run resumes bit for bit"
    )
    slowest = 0.0
    for number in range(setting.trial.count(_HANGS)):
        runs = setting.trial.folder / f"hang{number}"
        rank, after = number % 2, number % 4 >= 2
        command = training(setting.pictures, runs)
        group = start(command, runs.with_suffix(".log"), runs, 2, prepare=partial(_let_hang, rank, after))
        os.waitid(os.P_PID, group.processes[rank], os.WSTOPPED)
        begin = time.perf_counter()
        other = group.processes[1 - rank]
        while os.waitid(os.P_PID, other, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.perf_counter() - begin > _LONGEST:
                break
            time.sleep(_PAUSE)
        seconds = time.perf_counter() - begin
        slowest = max(slowest, seconds)
        status = group.kill()[1 - rank]
        last = start(command, runs.with_suffix(".log"), runs, 2)
        found = setting.faults_of(runs) if not any(last.wait()) else [end_of(last.log)]
        is_found = seconds <= _HANG + _SLACK and status not in (0, -signal.SIGKILL)
        promise.test(is_found and not found, f"{runs}: status {status} after {seconds:.0f} s; {', '.join(found[:4])}")
    promise.figures |= {"seconds stated": _HANG, "seconds until the slowest end": slowest}
    return promise


def _let_hang(rank: int, after: bool, board: Board) -> None:
    """Let one rank stop in its fourth iteration, before or after what it computes, and the other one find it soon."""
    processes.HANG = timedelta(seconds=_HANG)
    if int(os.environ["RANK"]) != rank:
        return
    original = IntactTask.step

    def step(self: IntactTask, batch: object, iteration: int, detailed: bool) -> Record:
        if iteration == 3 and not after:
            os.kill(os.getpid(), signal.SIGSTOP)
        record = original(self, batch, iteration, detailed)  # type: ignore[arg-type]
        if iteration == 3 and after:
            os.kill(os.getpid(), signal.SIGSTOP)
        return record

    IntactTask.step = step  # type: ignore[method-assign]
