"""Trainings killed at any moment: the same command resumes them, and they end as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.chaos.children import STAGES, Children, end_of, said, side_by_side, start
from benchmarks.chaos.equal_runs import differences, leftovers
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import resumption, tell_stages, training, warm_up

KILLS = 100
_IN_GROUPS = 0.3
"""Share of the kills that meet two processes."""
_A_RUN = 8
"""Kills of one training before it is let finish."""
_AFTER, _WITHIN, _BEFORE, _AT = _WAYS = (
    *("after a time", "within a stage"),
    *("before a change of a file", "at a change of a file"),
)
_WITHIN_S = 0.1
"""Longest that a stage goes on before it is met within."""


def run(trial: Trial) -> list[Promise]:
    """Kill trainings of one process, and of two."""
    pictures = warm_up(trial.folder)
    in_groups = trial.count(round(KILLS * _IN_GROUPS))
    plans = ((1, max(1, trial.count(KILLS) - in_groups)), (2, in_groups))
    return [promise for count, kills in plans for promise in _kill_trainings(trial, pictures, count, kills)]


@dataclass(frozen=True)
class _Setting:
    """What all kills of one number of processes need.

    Attributes:
        folder: Takes the runs.
        pictures: What is trained on.
        count: Processes of a training.
        seed: Of the moments.
        seconds: How long an undisturbed training takes.
        changes: Changes of files that it makes.
    """

    folder: Path
    pictures: Path
    count: int
    seed: int
    seconds: float = 0.0
    changes: int = 0

    def begin(self, runs: Path, die_before: int | None = None, log: Path | None = None) -> Children:
        work = training(self.pictures, runs)
        return start(work, log or runs.with_suffix(".log"), runs, self.count, die_before, tell_stages)

    @property
    def whole(self) -> Path:
        return self.folder / "whole"


@dataclass
class _Seen:
    """What became of some trainings: what was wrong with each start and each end, and when they were killed."""

    starts: list[str] = field(default_factory=list)
    ends: list[tuple[list[str], list[str]]] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)


def _kill_trainings(trial: Trial, pictures: Path, count: int, kills: int) -> Sequence[Promise]:
    name = "one process" if count == 1 else "two processes"
    resumed = Promise(f"A killed training of {name} resumes by the same command")
    equal = Promise(f"A killed training of {name} ends with the files of an unbroken one, bit for bit")
    clean = Promise(f"No half of a file stays of a killed training of {name}")
    folder = trial.folder / f"processes{count}"
    folder.mkdir()
    setting = _undisturbed(_Setting(folder, pictures, count, trial.seed))
    runs = [partial(_some_kills, setting, first, min(_A_RUN, kills - first)) for first in range(0, kills, _A_RUN)]
    stages: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    for seen in side_by_side(runs):
        for wrong in seen.starts:
            resumed.test(not wrong, wrong)
        for found, left in seen.ends:
            equal.test(not found, ", ".join(found[:4]))
            clean.test(not left, ", ".join(left))
        stages += seen.stages
        ways += seen.ways
    equal.figures["kills"] = stages.total()
    resumed.figures |= {f"kills in {stage}": stages[stage] for stage in STAGES}
    clean.figures |= {f"kills {way}": ways[way] for way in _WAYS}
    return resumed, equal, clean


def _undisturbed(setting: _Setting) -> _Setting:
    """Train without a kill, and remember how long that takes."""
    begin = time.perf_counter()
    whole = setting.begin(setting.whole)
    assert not any(whole.wait()), whole.log.read_text()
    seconds = time.perf_counter() - begin
    return replace(setting, seconds=seconds, changes=whole.board.changes)


def _some_kills(setting: _Setting, first: int, kills: int) -> _Seen:
    """Kill a training so often, let it finish, and begin another one where it has finished too early."""
    draw, seen, number = random.Random(f"{setting.seed} {setting.count} {first}"), _Seen(), 0
    # a later start does not come to an earlier stage again
    within = sorted(draw.choices(range(1, len(STAGES)), k=kills))
    while seen.stages.total() < kills:
        runs = setting.folder / f"{first}-{number}"
        number += 1
        while seen.stages.total() < kills:
            way, change = draw.choice(_WAYS), 1 + draw.randrange(setting.changes)
            children = setting.begin(runs, change if way == _BEFORE else None)
            stage = STAGES[within[seen.stages.total()]]
            _moment(way, draw, setting.seconds, change, stage)(children)
            # where rank 0 has ended, what is left of its group ends as by torchrun
            status = children.kill()[0]
            if status != -signal.SIGKILL:
                # it has ended before, perhaps by a failure
                seen.starts.append(f"{runs}: status {status}: {end_of(children.log)}" if status else "")
                break
            seen.stages[children.board.stage] += 1
            seen.ways[way] += 1
        expected = resumption(runs / "default")
        last = setting.begin(runs, log=runs.with_suffix(".last.log"))
        statuses = last.wait()
        goes_on = not any(statuses) and expected in said(last.log)
        seen.starts.append("" if goes_on else f"{runs}: statuses {statuses}, {expected!r}: {end_of(last.log)}")
        if not goes_on:
            break
        found = differences(setting.whole / "default", runs / "default")
        seen.ends.append(([f"{runs}: {place}" for place in found], leftovers(runs)))
    return seen


def _moment(way: str, draw: random.Random, seconds: float, change: int, stage: str) -> Callable[[Children], bool]:
    """Give what waits for the moment of a kill."""
    if way == _AFTER:
        return partial(_after, draw.uniform(0, seconds))
    if way == _AT:
        return lambda children: children.run_until(lambda board: board.changes >= change)
    if way == _WITHIN:
        pause = draw.uniform(0, _WITHIN_S)
        return lambda children: children.run_until(lambda board: board.stage == stage) and _after(pause, children)
    return lambda children: children.run_until(lambda board: False)


def _after(seconds: float, children: Children) -> bool:
    end = time.perf_counter() + seconds
    return children.run_until(lambda board: time.perf_counter() >= end)
