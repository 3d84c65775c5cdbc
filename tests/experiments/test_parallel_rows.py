"""``intact-fast experiments --jobs``: several rows at a time find what one after the other does."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.tiny_table import TINY
from intact_fast.cli import main
from intact_fast.commands import experiments

# a shell's background job, as a test run may be one, passes on that Ctrl-C is ignored
HEEDS_CTRL_C = """
import signal, sys
from intact_fast.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


def wait_until(happened: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def command(picture_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., list[str]]:
    root = picture_folder()

    def command(*arguments: object) -> list[str]:
        folders = ["--data.root", root, "--runs", tmp_path / "runs"]
        return ["experiments", *map(str, [*TINY, "--unseen", *folders, *arguments])]

    return command


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What each row found, but for what depends on time and place."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
    for result in found.values():
        del result["config"], result["step_ms"]
    return found


def test_rows_find_what_they_find_alone(
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipes = ("--recipes", "lr", "mse+id", "intact", "--seeds", 2)
    assert main(command(*recipes, "--name", "alone")) == 0
    capsys.readouterr()
    assert main(command(*recipes, "--name", "beside", "--jobs", 2)) == 0
    runs = tmp_path / "runs"
    alone, beside = results(runs / "alone"), results(runs / "beside")
    assert alone.keys() == beside.keys()
    for row, result in alone.items():
        assert beside[row]["manifest"] == result["manifest"]
        assert beside[row]["figures"] == pytest.approx(result["figures"], rel=1e-3)
        assert beside[row]["curve"] == result["curve"]
    assert json.loads((runs / "beside" / "recipes.json").read_text())["intact"]["step_ms"] == [None, None]
    said = capsys.readouterr().out
    assert "6 rows, up to 2 at a time" in said
    assert "(6 of 6 rows)" in said
    assert "INTACT 1/2" not in said
    assert "INTACT 1/2" in (runs / "beside" / "logs" / "intact-seed1.log").read_text()

    monkeypatch.setattr(experiments, "run_in_parallel", lambda *_: pytest.fail("all rows are kept"))
    assert main(command(*recipes, "--name", "beside", "--jobs", 2)) == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_row_that_cannot_be_run_does_not_keep_the_others(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: int
) -> None:
    """One that diverged stopped every rerun of its table, at the same place."""
    folder = tmp_path / "runs" / "experiments"
    (folder / "mse+id-seed0").mkdir(parents=True)
    (folder / "mse+id-seed0" / "mine.txt").write_text("somebody's")
    assert main(command("--recipes", "mse+id", "sole-sr", "--jobs", jobs)) == 2
    said = capsys.readouterr()
    first, last = errors_of(said.err)
    assert re.match(r"error: mse\+id-seed0: --name mse\+id-seed0: .* is no run of ours", first)
    assert last == "error: 1 of 2 rows cannot be run as it is: mse+id-seed0"
    assert "sole-sr" in said.out, "the table is shown"
    assert not multiprocessing.active_children()
    assert json.loads((folder / "recipes.json").read_text()).keys() == {"sole-sr"}


def test_a_process_that_dies_is_told(command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    def kill_one() -> None:
        while not multiprocessing.active_children():
            time.sleep(0.05)
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill_one, daemon=True).start()
    assert main(command("--recipes", "mse+id", "sole-sr", "--jobs", 2)) == 2
    error = capsys.readouterr().err
    assert re.search(r"--jobs: the process of \S+-seed0 ended with exit status -9.* use fewer", error)
    assert not multiprocessing.active_children()


def errors_of(text: str) -> list[str]:
    """Leave out how the folder of pictures was understood."""
    return [line for line in text.strip().splitlines() if not line.startswith("folder: ")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_saves_what_is_trained(command: Callable[..., list[str]], tmp_path: Path, how: signal.Signals) -> None:
    """However the parent ends, none of its processes trains on."""
    long = command("--recipes", "mse+id", "sole-sr", "--jobs", 2, "--training.validate-every", 0)
    logs = [tmp_path / "runs" / "experiments" / "logs" / f"{row}-seed0.log" for row in ("mse+id", "sole-sr")]
    run = subprocess.Popen(
        [sys.executable, "-c", HEEDS_CTRL_C, *long, "--training.iterations", "100000"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: all(p.is_file() and "INTACT 1/" in p.read_text() for p in logs))
        run.send_signal(how)
        _, error = run.communicate(timeout=60)
        # a parent that was killed waits for nobody
        wait_until(lambda: all("state saved" in log.read_text() for log in logs))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    if how != signal.SIGKILL:
        assert run.returncode == 130, error
        assert errors_of(error) == ["Interrupted; run the same command to go on."]


def test_an_error_in_between_ends_the_processes(
    command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(experiments, "_write", full)
    with pytest.raises(OSError, match="disk full"):
        main(command("--recipes", "lr", "mse+id", "--jobs", 2))
    assert not multiprocessing.active_children()


def test_a_row_that_ran_beside_others_has_no_time(command: Callable[..., list[str]], tmp_path: Path) -> None:
    assert main(command("--recipes", "mse+id", "sole-sr", "--jobs", 2)) == 0
    result = tmp_path / "runs" / "experiments" / "mse+id-seed0" / "result.json"
    assert main(command("--recipes", "mse+id", "--evaluation.metric", "cosine")) == 0
    assert json.loads(result.read_text())["step_ms"] is None
    assert main(command("--recipes", "mse+id", "--name", "alone")) == 0
    alone = tmp_path / "runs" / "alone" / "mse+id-seed0" / "result.json"
    assert json.loads(alone.read_text())["step_ms"] > 0


@pytest.mark.parametrize(
    ("jobs", "processes", "expected"),
    [(0, 1, "--jobs 0: must be 1 or more"), (2, 2, "a group of torchrun runs one row at a time")],
)
def test_mistakes(
    command: Callable[..., list[str]],
    jobs: int,
    processes: int,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert main(command("--recipes", "lr", "--jobs", jobs)) == 2
    assert expected in capsys.readouterr().err
