"""Trainings killed at any moment: the same command resumes them, and they end as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.children import STAGES, Children, end_of, start, warm_up
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import differences, draw_pictures, leftovers, tell_stages, training

KILLS = 100
_IN_GROUPS = 0.3
"""Share of the kills that meet two processes."""
_A_RUN = 8
"""Kills of one training before it is let finish."""
_AFTER, _BEFORE, _AT = _WAYS = ("after a time", "before a change of a file", "at a change of a file")


def run(trial: Trial) -> list[Promise]:
    """Kill trainings of one process, and of two."""
    pictures = draw_pictures(trial.folder)
    warm_up(training(pictures, trial.folder / "warm"), trial.folder / "warm.log", trial.folder)
    in_groups = trial.count(round(KILLS * _IN_GROUPS))
    plans = ((1, max(1, trial.count(KILLS) - in_groups)), (2, in_groups))
    return [promise for count, kills in plans for promise in _kill_trainings(trial, pictures, count, kills)]


def _kill_trainings(trial: Trial, pictures: Path, count: int, kills: int) -> Sequence[Promise]:
    name = "one process" if count == 1 else "two processes"
    resumed = Promise(f"A killed training of {name} resumes by the same command")
    equal = Promise(f"A killed training of {name} ends with the files of an unbroken one, bit for bit")
    clean = Promise(f"No half of a file stays of a killed training of {name}")
    folder = trial.folder / f"processes{count}"
    folder.mkdir()
    draw = random.Random(trial.seed + count)
    begin = time.perf_counter()
    whole = _begin(pictures, folder / "whole", count)
    assert not any(whole.wait()), whole.log.read_text()
    seconds, changes = time.perf_counter() - begin, whole.board.changes
    stages: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    number = 0
    while stages.total() < kills:
        number += 1
        runs = folder / str(number)
        for _ in range(min(_A_RUN, kills - stages.total())):
            way = draw.choice(_WAYS)
            children = _begin(pictures, runs, count, 1 + draw.randrange(changes) if way == _BEFORE else None)
            statuses = _killed(children, way, draw.uniform(0, seconds), 1 + draw.randrange(changes))
            if statuses[0] != -signal.SIGKILL:
                # it has ended before, perhaps by a failure
                resumed.test(statuses[0] == 0, f"{runs}: status {statuses[0]}: {end_of(children.log)}")
                break
            stages[children.board.stage] += 1
            ways[way] += 1
        last = _begin(pictures, runs, count)
        statuses = last.wait()
        resumed.test(not any(statuses), f"{runs}: statuses {statuses}: {end_of(last.log)}")
        if not any(statuses):
            found = differences(folder / "whole" / "default", runs / "default")
            equal.test(not found, f"{runs}: {', '.join(found[:4])}")
            left = leftovers(runs)
            clean.test(not left, ", ".join(left))
    equal.figures["kills"] = stages.total()
    resumed.figures |= {f"kills in {stage}": stages[stage] for stage in STAGES}
    clean.figures |= {f"kills {way}": ways[way] for way in _WAYS}
    return resumed, equal, clean


def _begin(pictures: Path, runs: Path, count: int, die_before: int | None = None) -> Children:
    command = training(pictures, runs)
    return start(command, runs.with_suffix(".log"), runs, count, die_before, tell_stages)


def _killed(children: Children, way: str, seconds: float, change: int) -> list[int]:
    """Kill a training at its moment; the statuses of its processes."""
    if way == _AFTER:
        end = time.perf_counter() + seconds
        children.run_until(lambda board: time.perf_counter() >= end)
    elif way == _AT:
        children.run_until(lambda board: board.changes >= change)
    else:
        children.run_until(lambda board: False)
    # where rank 0 has ended, what is left of its group ends as by torchrun
    return children.kill()
