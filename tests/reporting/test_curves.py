"""Metrics of runs that were killed, resumed or are still writing, and the curves of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from intact_fast.reporting.curves import Metrics, read_metrics, save_curves


def write(folder: Path, *lines: dict | str) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(texts))


def record(iteration: int, task: str = "INTACT", **values: float) -> dict:
    return {"task": task, "iteration": iteration, **values}


def test_figures_by_task_name_and_iteration(tmp_path: Path) -> None:
    write(
        tmp_path,
        record(10, "critic", loss=3.0),
        record(10, loss=2.0, speed=5.0),
        record(10, score=0.5),
        record(20, loss=1.0),
    )
    assert read_metrics(tmp_path) == {
        "critic": {"loss": {10: 3.0}},
        "INTACT": {"loss": {10: 2.0, 20: 1.0}, "speed": {10: 5.0}, "score": {10: 0.5}},
    }


def test_a_resumed_run_repeats_iterations_and_the_last_line_wins(tmp_path: Path) -> None:
    write(tmp_path, record(10, loss=1.0), record(30, loss=2.0), record(20, loss=3.0), record(30, loss=4.0))
    points = read_metrics(tmp_path)["INTACT"]["loss"]
    assert list(points.items()) == [(10, 1.0), (20, 3.0), (30, 4.0)]


@pytest.mark.parametrize("torn", ['{"task": "INTACT", "itera', '{"task": "INT{"task": "INTACT"}', "7", "{}"])
def test_torn_lines_are_left_out(tmp_path: Path, torn: str) -> None:
    write(tmp_path, record(10, loss=1.0), torn)
    assert read_metrics(tmp_path) == {"INTACT": {"loss": {10: 1.0}}}


def test_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == {}
    assert not save_curves({}, tmp_path / "curves.png")
    assert not save_curves({"INTACT": {"loss/mse": {1: float("nan")}}}, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_only_what_was_logged_is_drawn(tmp_path: Path) -> None:
    losses: Metrics = {"INTACT": {name: {1: 2.0, 2: 1.0} for name in ("loss/mse", "loss/id", "loss/gan", "img_per_s")}}
    losses["INTACT"]["association/r2"] = {1: -300.0, 2: float("nan"), 3: 0.1}
    heights = []
    for metrics in (losses, losses | {"critic": {"loss/critic": {1: 1.0}, "critic/accuracy": {1: 0.5}}}):
        assert save_curves(metrics, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as picture:
            heights.append(picture.height)
    assert heights[1] == pytest.approx(1.5 * heights[0], abs=1), "five panels in two rows, seven in three"
