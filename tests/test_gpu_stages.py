"""The stages of `benchmarks.gpu`: their smoke forms run on a CPU, and each ends in time."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import record
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import correctness, critic, data, distributed, ladder, training
from benchmarks.gpu.requirements import complaint
from benchmarks.gpu.stage import Clock, Outcome, Task, run_stage

CPU = torch.device("cpu")
FIGURES: dict[str, tuple[str, ...]] = {
    "correctness": ("files", "failed", "part"),
    "ladder": ("ladder", "light", "batch_size", "preset"),
    "operators": ("operators", "association_step", "copy_gb_per_s"),
    "data": ("ways", "batch_size"),
    "distributed": ("alone", "together", "gpus"),
    "critic": ("rows", "training_seconds"),
    "best": ("rows", "training_seconds"),
}


def smoke(seconds: float = 100.0, **options: Any) -> Task:
    return Task(CPU, True, Clock(seconds), **options)


@pytest.mark.parametrize("name", command.STAGES)
def test_smoke_form_runs_and_claims_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("benchmarks.ladder.INPUT_SETS", 1)
    monkeypatch.setattr("benchmarks.ladder.GATE_ITERATIONS", 2)
    assert command.main(["--smoke", "--stage", name, "--records", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.json")
    assert path.stem.endswith(f"{name}-smoke")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(record.FIELDS) <= found.keys()
    assert set(FIGURES[name]) <= found.keys()
    assert found["headline"] == "A smoke run; its figures say nothing."
    assert found["commands"] == {name: f"python -m benchmarks.gpu --smoke --stage {name} --records {tmp_path}"}
    assert found["passed"] is True
    # the table comes last
    lines = capfd.readouterr().out.rstrip().splitlines()
    assert lines[-1] == f"{name}: passed."
    assert any(line.startswith(f"{name}, ") and "these figures say nothing" in line for line in lines)


def test_a_smoke_record_stays_out_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def note(name: str, stage: Any, task: Task, text: str, folder: Path) -> bool:
        folders.append(folder)
        return True

    monkeypatch.setattr("benchmarks.gpu.stage.run_stage", note)
    assert command.main(["--smoke"]) == 0
    assert len(folders) == len(command.DEFAULT)
    assert record.RECORDS not in folders


def test_stages_stop_where_one_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[str, str]] = []

    def note(name: str, stage: Any, task: Task, text: str, folder: Path) -> bool:
        started.append((name, text))
        return name != "ladder"

    monkeypatch.setattr("benchmarks.gpu.stage.run_stage", note)
    assert command.main(["--smoke", "--records", str(tmp_path)]) == 1
    assert [name for name, _ in started] == ["correctness", "ladder"]
    # each is named by the command that runs it alone
    assert started[1][1] == f"python -m benchmarks.gpu --stage ladder --smoke --records {tmp_path}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "ladder", "--data.root", "/x"], "--data.root: only --stage critic and --stage best take options"),
        (["--part", "3/2"], "--part 3/2: give which of how many"),
        (["--part", "0/2"], "--part 0/2"),
        (["--stage", "nothing"], "invalid choice"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--smoke", *words])
    assert message in capsys.readouterr().err


def test_without_a_gpu_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert complaint(smoke=True) is None
    assert command.main(["--stage", "ladder"]) == 2
    error = capsys.readouterr().err
    assert "PyTorch sees no NVIDIA GPU" in error
    assert "--smoke" in error
    assert error.count("\n") == 1


def test_a_mistake_in_a_trainings_options_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--smoke", "--stage", "critic", "--records", str(tmp_path), "--data.root", str(tmp_path / "nowhere")]
    assert command.main(words) == 2
    assert "--data.root" in capsys.readouterr().err
    assert list(tmp_path.glob("*.json")) == []


def test_parts_have_every_test_once_and_compile_last() -> None:
    tests = [f"tests/{file}.py::test_{i}[{kind}]" for file in "ba" for i, kind in enumerate(("off", "compiled", "on"))]
    parts = [correctness.in_order(tests, (which, 2)) for which in (1, 2)]
    assert sorted([*parts[0], *parts[1]]) == sorted(tests)
    whole = correctness.in_order(tests, (1, 1))
    assert ["compiled" in test for test in whole] == [False] * 4 + [True] * 2
    assert whole[0].startswith("tests/a.py")


def test_every_file_with_tests_of_a_gpu_is_found() -> None:
    files = correctness.marked_files()
    assert {"tests/kernels/test_cuda.py", "tests/kernels/test_correctness.py", "tests/training/step/test_cuda.py"} <= {
        *files
    }
    assert "tests/test_losses.py" not in files


def test_tests_that_no_longer_fit_are_named() -> None:
    outcome = correctness.measure(smoke(0.0))
    assert not outcome.passed
    assert len(outcome.left_out) == outcome.figures["files"]["tests/data/test_degradation.py"]["not run"] > 0


def test_rungs_that_no_longer_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.ladder.GATE_ITERATIONS", 1)
    monkeypatch.setattr(ladder, "config_of", lambda name, smoke, make=ladder.config_of: make(name, True))
    monkeypatch.setattr(ladder, "rungs", lambda device, smoke, make=ladder.rungs: make(device, True))
    outcome = ladder.measure(Task(CPU, False, Clock(0.0)))
    assert len(outcome.left_out) == 4
    assert not outcome.passed
    assert outcome.figures["light"] == {"preset": "best", "batch_size": 4, "ladder": []}


def test_a_gpus_ladder_has_five_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.ladder.computes_bfloat16", lambda device: True)
    chosen = ladder.rungs(torch.device("cuda", 0))
    assert [rung.training["step"] for rung in chosen] == ["naive", "naive", "shared", "shared", "shared"]
    assert [rung.training["compile"] for rung in chosen] == ["off"] * 4 + ["on"]
    assert [rung.training["cuda_graph"] for rung in chosen] == ["off"] * 3 + ["on"] * 2


def test_the_ladders_headline_has_the_length_of_a_records() -> None:
    rows = [{"rung": "naive", "img_per_s": 181.48, "median_ms": 176.3, "ratio": 1.0, "utilisation": 0.1}]
    configs = {name: ladder.config_of(name, smoke=False) for name in ladder.NETWORKS}
    headline = ladder._outcome(dict.fromkeys(ladder.NETWORKS, rows), configs, []).headline
    assert headline.startswith("Pictures per second at best: paper 181.5 (1.00 times its first rung), best 181.5")
    assert len(headline.split()) <= 20


def test_pictures_that_differ_from_pillows_fail_the_stage() -> None:
    way = {"img_per_s": 1.0, "training_img_per_s": 1.0, "wait_ms": 1.0, "wait_share": 0.5, "max_levels": 3.0}
    rows = {"DALI, decoded on the CPU": {**way, "mean_levels": 0.4}}
    assert data._outcome(rows, 4, []).passed
    rows["DALI, decoded on the CPU"]["mean_levels"] = 0.6
    assert not data._outcome(rows, 4, []).passed
    # a GPU's decoder is only shown
    assert data._outcome({"DALI, decoded on the GPU": {**way, "mean_levels": 0.6}}, 4, []).passed
    assert data.difference(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 1 / 255))[1] == pytest.approx(0.229)


def test_a_training_that_takes_too_long_saves_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over as soon as the training is under way, however fast the machine is."""
    saved = tmp_path / "gpu-critic" / "checkpoints" / "critic"
    stop = training.stopped_after

    @contextmanager
    def stopped_when_under_way(seconds: float) -> Iterator[None]:
        def wait_and_stop() -> None:
            while not list(saved.glob("*.pt")):
                time.sleep(0.05)
            with stop(0.0):
                ended.wait()

        ended = threading.Event()
        watcher = threading.Thread(target=wait_and_stop)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    monkeypatch.setattr(training, "stopped_after", stopped_when_under_way)
    words = ("--critic.iterations", "100000", "--training.checkpoint-every", "2", "--runs", str(tmp_path))
    outcome = critic.measure(smoke(words=words))
    assert not outcome.passed
    assert "the same command goes on" in outcome.headline
    assert "state saved; run the same command to go on" in capsys.readouterr().out


def test_processes_that_take_too_long_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun and its workers, which would otherwise keep the GPU."""
    ranks: list[int] = []
    wait = subprocess.Popen.communicate

    def as_soon_as_it_trains(run: Any, *arguments: Any, timeout: float | None = None) -> Any:
        """The time is over once a process of the group is there, however fast the machine is."""
        if timeout is None:
            return wait(run, *arguments)
        while not ranks:
            ranks.extend(processes_with("benchmarks.gpu.ranks", parent=run.pid))
            time.sleep(0.05)
        raise subprocess.TimeoutExpired(run.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", as_soon_as_it_trains)
    outcome = distributed.measure(smoke())
    assert not outcome.passed
    assert list(outcome.left_out) == ["one process", "2 processes that share one device"]
    assert outcome.headline == "Not finished in time: one process, 2 processes that share one device."
    assert outcome.figures == {"gpus": 0, "alone": None, "together": None}
    assert ranks
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


def processes_with(text: str, parent: int) -> list[int]:
    """Children of a process whose command line has a text."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if text in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def test_processes_are_not_started_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    outcome = distributed.measure(smoke(0.0))
    assert not outcome.passed
    assert len(outcome.left_out) == 2


def test_what_has_finished_in_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {"backend": "none", "img_per_s": 12.0, "median_ms": 3.0}
    monkeypatch.setattr(distributed, "run_ranks", lambda task, ranks, file: alone if ranks == 1 else None)
    outcome = distributed.measure(smoke())
    assert not outcome.passed
    assert list(outcome.left_out) == ["2 processes that share one device"]
    assert outcome.figures["alone"] == alone
    assert [line.split()[:2] for line in outcome.table[1:]] == [["one", "process"]]


def test_a_stage_that_fails_says_so_and_writes_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome("Nothing went.", {"x": 1.23456789}, ["a table"], passed=False, left_out=["a rung"])
    task = Task(CPU, False, Clock(1.0))
    assert not run_stage("ladder", lambda task: outcome, task, "make gpu", tmp_path)
    (path,) = tmp_path.glob("*-ladder.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["notes"] == ["Left out, as the stage's time was over: a rung."]
    assert (found["x"], found["passed"]) == (1.2346, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["a table", found["notes"][0], "ladder: FAILED. Nothing went."]
