"""Figures of a training as files: no curve doubles back, and a full disk costs curves only."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from intact_fast.reporting.curves import read_metrics
from intact_fast.training.figures import FigureFiles
from intact_fast.training.monitoring import Monitor


def curve(folder: Path, task: str, name: str) -> list[tuple[int, float]]:
    """A curve as TensorBoard shows it."""
    events = EventAccumulator(str(folder / "tensorboard" / task))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(f"{task}/{name}")]


def logged(folder: Path) -> list[tuple[str, int]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["task"], line["iteration"]) for line in lines]


def test_curves_do_not_double_back_after_a_crash(tmp_path: Path) -> None:
    critic = FigureFiles(tmp_path, "critic", 0)
    for iteration in (10, 20, 30):
        critic.add(iteration, {"loss": 1.0})
    first = FigureFiles(tmp_path, "INTACT", 0)
    for iteration in (2, 4, 6):
        first.add(iteration, {"loss": float(iteration)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"task": "INTACT", "iter')  # torn by a crash after the checkpoint of iteration 4
    second = FigureFiles(tmp_path, "INTACT", 4)
    second.add(6, {"loss": 60.0})
    second.add(8, {"loss": 80.0})
    assert curve(tmp_path, "INTACT", "loss") == [(2, 2.0), (4, 4.0), (6, 60.0), (8, 80.0)]
    assert curve(tmp_path, "critic", "loss") == [(10, 1.0), (20, 1.0), (30, 1.0)]
    assert logged(tmp_path) == [*(("critic", i) for i in (10, 20, 30)), *(("INTACT", i) for i in (2, 4, 6, 8))]
    assert read_metrics(tmp_path)["INTACT"]["loss"] == {2: 2.0, 4: 4.0, 6: 60.0, 8: 80.0}


def test_a_whole_line_without_its_end_stays_a_line(tmp_path: Path) -> None:
    FigureFiles(tmp_path, "INTACT", 0).add(2, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().rstrip("\n"))
    FigureFiles(tmp_path, "INTACT", 2).add(4, {"loss": 2.0})
    assert logged(tmp_path) == [("INTACT", 2), ("INTACT", 4)]


def test_a_crash_before_the_first_checkpoint(tmp_path: Path) -> None:
    FigureFiles(tmp_path, "INTACT", 0).add(2, {"loss": 1.0})
    FigureFiles(tmp_path, "INTACT", 0).add(2, {"loss": 3.0})
    assert curve(tmp_path, "INTACT", "loss") == [(2, 3.0)]
    assert logged(tmp_path) == [("INTACT", 2)]


def test_json_holds_no_nan(tmp_path: Path) -> None:
    FigureFiles(tmp_path, "INTACT", 0).add(2, {"loss": math.nan, "other": math.inf, "r2": 0.5})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"task": "INTACT", "iteration": 2, "loss": None, "other": None, "r2": 0.5}
    assert read_metrics(tmp_path) == {"INTACT": {"r2": {2: 0.5}}}


def test_a_full_disk_costs_curves_only(tiny_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Monitor(tiny_disk) as monitor:
        monitor.begin_task("INTACT", 1000, 0)
        filler = tiny_disk / "filler"
        monitor.store(1, {"loss": 1.0})
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 20))
        for iteration in range(2, 400):
            monitor.store(iteration, {"loss": 1.0, "x" * 200: 2.0})
        filler.unlink()
        monitor.store(400, {"loss": 4.0})
    said = capsys.readouterr().out.replace("\n", " ")
    assert said.count("figures of the training are not written") == 1
    assert "No space left on device" in said
    steps = [step for step, _ in curve(tiny_disk, "INTACT", "loss")]
    assert (steps[0], steps[-1]) == (1, 400), "nothing torn lies between"
    assert len(steps) < 400
    assert all(json.loads(line) for line in (tiny_disk / "metrics.jsonl").read_text().splitlines())
