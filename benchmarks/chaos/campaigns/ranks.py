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

from benchmarks.chaos.children import Board, Children, end_of, side_by_side, start
from benchmarks.chaos.equal_runs import differences, leftovers
from benchmarks.chaos.programs import children_of, command
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, training, warm_up
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
_HELPER = b"multiprocessing.resource_tracker"
_Launch = Callable[[Path, Path], Callable[[], int]]
"""Gives what starts an agent of torchrun, for the folders of pictures and of runs."""


def run(trial: Trial) -> list[Promise]:
    """Kill ranks, and let some hang."""
    pictures = warm_up(trial.folder)
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
    deaths = setting.trial.count(_DEATHS)
    by_command = _BY_COMMAND if deaths > _RESTARTS else 0
    forked = [min(_RESTARTS, deaths - done) for done in range(by_command, deaths, _RESTARTS)]
    works = [partial(_some_deaths, setting, f"deaths{n}", wanted, _forking_agent) for n, wanted in enumerate(forked)]
    if by_command:
        works.insert(0, partial(_some_deaths, setting, "deaths-by-command", by_command, _command_line))
    for ends in side_by_side(works):
        for killed, found in ends:
            # a run that fails before anything was killed counts, too
            for _ in range(killed or bool(found)):
                promise.test(not found, ", ".join(found[:4]))
    promise.figures["of them under the true command line"] = by_command
    return promise


def _some_deaths(setting: _Setting, name: str, deaths: int, launch: _Launch) -> list[tuple[int, list[str]]]:
    """Let so many ranks die below one agent after another; for each, how many died and what is wrong with its end."""
    draw = random.Random(f"{setting.trial.seed} {name}")
    ends: list[tuple[int, list[str]]] = []
    while deaths > 0:
        runs = setting.trial.folder / f"{name}-{len(ends)}"
        agent = start(launch(setting.pictures, runs), runs.with_suffix(".log"), runs)
        killed = _kill_ranks(agent, runs, draw, deaths, setting.seconds)
        (status,) = agent.wait()
        found = setting.faults_of(runs) if status == 0 else [f"status {status}: {end_of(agent.log)}"]
        ends.append((killed, [f"{runs}: {place}" for place in found]))
        if found:
            break
        deaths -= killed
    return ends


def _command_line(pictures: Path, runs: Path) -> Callable[[], int]:
    """Become torchrun."""
    options = [*OPTIONS, "--data.root", pictures, "--runs", runs]
    words = command("intact_fast.train", options, processes=2, restarts=_BY_COMMAND)

    def become() -> int:
        os.execv(sys.executable, words)

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
    return [child for child in children_of(agent) if _HELPER not in _command_line_of(child)]


def _command_line_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return _HELPER


def _hangs(setting: _Setting) -> Promise:
    promise = Promise(
        "A rank that hangs in an iteration ends the others within the stated time, and the run resumes bit for bit"
    )
    numbers = range(setting.trial.count(_HANGS))
    seconds = []
    for took, found in side_by_side([partial(_one_hang, setting, number) for number in numbers]):
        seconds.append(took)
        promise.test(not found, ", ".join(found[:4]))
    promise.figures |= {"seconds stated": _HANG, "seconds until the slowest end": max(seconds)}
    return promise


def _one_hang(setting: _Setting, number: int) -> tuple[float, list[str]]:
    """Let one rank stop; how long the other one went on, and what is wrong with that or with the run that resumes."""
    runs = setting.trial.folder / f"hang{number}"
    rank, after = number % 2, number % 4 >= 2
    work = training(setting.pictures, runs)
    group = start(work, runs.with_suffix(".log"), runs, 2, prepare=partial(_let_hang, rank, after))
    if not _waited_for(group.processes[rank], os.WSTOPPED):
        return _LONGEST, [f"{runs}: no rank hangs: statuses {group.kill()}: {end_of(group.log)}"]
    begin = time.perf_counter()
    _waited_for(group.processes[1 - rank], os.WEXITED)
    seconds = time.perf_counter() - begin
    status = group.kill()[1 - rank]
    found = [] if seconds <= _HANG + _SLACK and status not in (0, -signal.SIGKILL) else [f"status {status}"]
    last = start(work, runs.with_suffix(".log"), runs, 2)
    found += setting.faults_of(runs) if not any(last.wait()) else [end_of(last.log)]
    return seconds, [f"{runs}: {place} after {seconds:.0f} s" for place in found]


def _waited_for(process: int, change: int) -> bool:
    """Wait until a process has stopped or ended, whichever is asked for."""
    end = time.perf_counter() + _LONGEST
    while os.waitid(os.P_PID, process, change | os.WNOHANG | os.WNOWAIT) is None:
        if time.perf_counter() > end:
            return False
        time.sleep(_PAUSE)
    return True


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
