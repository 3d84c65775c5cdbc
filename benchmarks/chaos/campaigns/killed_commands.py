"""The other commands killed at any moment: the same command goes on, and ends with what it would have written."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.chaos.children import Children, side_by_side
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_commands import Command, commands
from benchmarks.chaos.tiny_runs import draw_pictures

_LONGEST = 1.2
"""Share of the time of an undisturbed command after which at the latest a killed one dies."""


def run(trial: Trial) -> list[Promise]:
    """Kill each command as often as it is worth."""
    return [kill(trial, command) for command in commands(trial.folder, draw_pictures(trial.folder))]


@dataclass(frozen=True)
class _Setting:
    """What all kills of a command need.

    Attributes:
        command: What is killed.
        folder: Takes what it writes.
        seed: Of the moments.
        seconds: How long an undisturbed call takes.
        changes: Changes of files that it makes.
    """

    command: Command
    folder: Path
    seed: int
    seconds: float
    changes: int


def kill(trial: Trial, command: Command) -> Promise:
    """Kill a command, and let it end."""
    promise = Promise(f"A killed `{command.name}` goes on by the same command, ends with the same, and leaves no half")
    folder, kills = trial.folder / command.name.split()[0], trial.count(command.kills)
    # the first one has more to import
    for name in ("first", "whole"):
        begin = time.perf_counter()
        changes = command.run_undisturbed(folder / name, folder / f"{name}.log")
    setting = _Setting(command, folder, trial.seed, time.perf_counter() - begin, changes)
    starts = range(0, kills, command.at_once)
    for ends in side_by_side([partial(_some_kills, setting, n, min(command.at_once, kills - n)) for n in starts]):
        for found in ends:
            promise.test(not found, ", ".join(found[:4]))
    promise.figures |= {"kills": kills, "seconds undisturbed": setting.seconds}
    return promise


def _some_kills(setting: _Setting, first: int, kills: int) -> list[list[str]]:
    """Kill a command so often, let it end, and begin anew where it has ended too early; what is wrong with each end."""
    draw, command, done = random.Random(f"{setting.seed} {first}"), setting.command, 0
    ends: list[list[str]] = []
    while done < kills:
        out, log = (setting.folder / f"{first}-{len(ends)}{suffix}" for suffix in ("", ".log"))
        out.mkdir()
        command.set_up(out)
        found: list[str] = []
        status = -signal.SIGKILL
        while done < kills and status == -signal.SIGKILL:
            (status,) = _killed(command.begin(out, log), draw, setting.seconds, setting.changes)
            done += status == -signal.SIGKILL
            found += command.faults_of_half(out, log)
        found += command.faults_of_end(setting.folder / "whole", out, log)
        ends.append([f"{out}: {place}" for place in found])
        if found:
            break
    return ends


def _killed(children: Children, draw: random.Random, seconds: float, changes: int) -> list[int]:
    """Kill a command at a drawn change of a file or after a drawn time; its status."""
    change = 1 + draw.randrange(changes)
    end = time.perf_counter() + draw.uniform(0, _LONGEST) * seconds
    if draw.random() < 0.5:
        children.run_until(lambda board: board.changes >= change)
    else:
        children.run_until(lambda board: time.perf_counter() >= end)
    return children.kill()
