"""Tables whose rows run beside each other, killed at any moment with all their processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.chaos.campaigns.killed_commands import kill
from benchmarks.chaos.children import Board
from benchmarks.chaos.equal_runs import differences
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_commands import Command
from benchmarks.chaos.tiny_runs import OPTIONS, warm_up
from intact_fast.experiments import parallel_rows

_RECIPES = ("mse+id", "feature")
_OF_ITS_OWN = ("logs/", "common.json/critic-")
"""Logs, one for all starts, and a hash of C's file, whose configuration names the folder of runs."""


def run(trial: Trial) -> list[Promise]:
    """Kill tables of two rows."""
    pictures = warm_up(trial.folder)
    words = ("--recipes", *_RECIPES, "--jobs", 2, "--unseen", "--data.root", pictures, "--runs")
    table = Command(
        "experiments --jobs 2",
        lambda out: ("experiments", *OPTIONS, *words, out),
        _of_tables,
        at_once=4,
        prepare=_fork_rows,
    )
    return [kill(trial, table)]


class _Forking:
    """Starts rows as forks of the command, which has imported all: that takes longer than a tiny row."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self._ours: list[Connection] = []

    def Pipe(self) -> tuple[Connection, Connection]:
        ours, theirs = self._context.Pipe()
        self._ours.append(ours)
        return ours, theirs

    def Process(self, target: Callable[..., None], args: tuple[Any, ...]) -> ForkProcess:
        return self._context.Process(target=self._without_ours, args=(target, args))

    def _without_ours(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        # a row ends where the command's side of its connection is closed, which no fork may hold open
        for connection in self._ours:
            connection.close()
        target(*arguments)


def _fork_rows(board: Board) -> None:
    forking = _Forking()
    parallel_rows.multiprocessing = SimpleNamespace(  # type: ignore[assignment]
        get_context=lambda kind: forking, parent_process=multiprocessing.parent_process
    )


def _of_tables(whole: Path, out: Path) -> list[str]:
    """Compare what two tables hold, bit for bit."""
    found = differences(whole / "experiments", out / "experiments")
    return [place for place in found if not place.startswith(_OF_ITS_OWN)]
