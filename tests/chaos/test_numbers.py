"""A small share of the campaigns on numbers and long runs, and what these campaigns judge by."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos.campaigns import long_runs, numbers
from benchmarks.chaos.campaigns.long_runs import Sample, Use
from benchmarks.chaos.programs import command, descendants, start, wait_until
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, draw_pictures, figures_of


def test_what_is_no_number_is_named_where_it_arises(tmp_path: Path) -> None:
    trial = Trial(tmp_path, share=0.1)
    for promise in (
        numbers.diverged(trial, numbers.small_config(tmp_path)),
        numbers.refused_pictures(trial),
        numbers.refused_features(trial),
    ):
        assert promise.trials >= 2
        assert promise.broken == []


@pytest.mark.parametrize(
    ("last", "worker", "broken"),
    [
        (Use(130, 20, 5), 90, 0),
        (Use(190, 20, 5), 90, 1),
        (Use(130, 21, 5), 90, 1),
        (Use(130, 20, 6), 90, 1),
        (Use(130, 20, 5), 140, 1),
        (Use(130, 20, 5), None, 1),
    ],
    ids=["bounded", "memory", "files", "threads", "worker", "no worker"],
)
def test_growth_is_seen(last: Use, worker: float | None, broken: int) -> None:
    promise = Promise("bounded")
    workers = () if worker is None else (Use(worker, 5, 1),)
    before = Sample(0, Use(120, 20, 5), (Use(80, 5, 1),))
    samples = [replace(before, done=done) if done < 75 else Sample(done, last, workers) for done in range(1, 101)]
    long_runs.judge(promise, "x", samples, 100, has_workers=True)
    assert len(promise.broken) == broken


def test_a_file_that_is_being_written_and_a_thread_that_pauses_are_no_growth() -> None:
    promise = Promise("bounded")
    samples = [
        Sample(done, Use(120, 20 + (done % 3 == 0 and done > 75), 8 - (done == 40)), ()) for done in range(1, 101)
    ]
    long_runs.judge(promise, "x", samples, 100)
    assert promise.broken == []


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    options = [*OPTIONS, "--data.root", draw_pictures(tmp_path), "--runs", tmp_path / "runs"]
    options += ["--data.threads", 2, "--training.iterations", 100_000]
    process = start(command("intact_fast.train", [*options, "--training.log-every", 1]), log=tmp_path / "log")
    try:
        assert wait_until(lambda: bool(figures_of(tmp_path / "runs" / "default")), 120), (tmp_path / "log").read_text()
        workers = descendants(process.pid)
        assert len(workers) == 2
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert wait_until(lambda: not any(map(long_runs.is_running, workers)), long_runs.ENDED_S)
