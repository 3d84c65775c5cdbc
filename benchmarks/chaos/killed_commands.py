"""The other commands killed at any moment: the same command goes on, and ends with what it would have written."""

from __future__ import annotations

import random
import signal
import time

from benchmarks.chaos.children import Children
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_commands import Command, commands
from benchmarks.chaos.tiny_runs import draw_pictures

_LONGEST = 1.2
"""Share of the time of an undisturbed command after which at the latest a killed one dies."""


def run(trial: Trial) -> list[Promise]:
    """Kill each command as often as it is worth."""
    return [kill(trial, command) for command in commands(trial.folder, draw_pictures(trial.folder))]


def kill(trial: Trial, command: Command) -> Promise:
    """Kill a command, and let it end."""
    promise = Promise(f"A killed `{command.name}` goes on by the same command, ends with the same, and leaves no half")
    draw = random.Random(trial.seed)
    folder = trial.folder / command.name.split()[0]
    whole = folder / "whole"
    whole.mkdir(parents=True)
    command.set_up(whole)
    begin = time.perf_counter()
    first = command.begin(whole, folder / "whole.log")
    assert not any(first.wait()), first.log.read_text()
    seconds, changes = time.perf_counter() - begin, first.board.changes
    kills = number = 0
    while kills < trial.count(command.kills):
        number += 1
        out, log = folder / str(number), folder / f"{number}.log"
        out.mkdir()
        command.set_up(out)
        for _ in range(min(command.at_once, trial.count(command.kills) - kills)):
            (status,) = _killed(command.begin(out, log), draw, seconds, changes)
            if status != -signal.SIGKILL:
                break
            kills += 1
        found = command.faults_of_end(whole, out, log)
        promise.test(not found, f"{out}: {', '.join(found[:4])}")
    promise.figures |= {"kills": kills, "seconds undisturbed": seconds}
    return promise


def _killed(children: Children, draw: random.Random, seconds: float, changes: int) -> list[int]:
    """Kill a command at a drawn change of a file or after a drawn time; its status."""
    change = 1 + draw.randrange(changes)
    end = time.perf_counter() + draw.uniform(0, _LONGEST) * seconds
    if draw.random() < 0.5:
        children.run_until(lambda board: board.changes >= change)
    else:
        children.run_until(lambda board: time.perf_counter() >= end)
    return children.kill()
