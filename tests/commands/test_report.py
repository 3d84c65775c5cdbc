"""``intact-fast report`` on the folders of a finished run, a run in progress, and of none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from intact_fast.cli import main
from intact_fast.config.options import Config
from intact_fast.data.manifest import Manifest


@pytest.fixture
def run(tiny_run: Config, tmp_path: Path) -> Path:
    """A copy of the folder of a finished run."""
    return shutil.copytree(tiny_run.runs / tiny_run.name, tmp_path / tiny_run.name)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["report", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_report_of_a_finished_run_is_the_runs_own(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, figures = ((run / name).read_text() for name in ("report.md", "evaluation.json"))
    assert "- training took " in report
    assert "- after 2 iterations φ explained R² = " in report
    links = [part.split(")")[0] for part in report.split("](")[1:]]
    assert {"samples/curves.png", "samples/similarities.png", "model.safetensors", "report.html"} <= set(links)
    assert all((run / link).exists() for link in links)
    pictures = sorted((run / "samples").glob("[!v]*.png"))
    before = [Image.open(path).tobytes() for path in pictures]
    shutil.rmtree(run / "samples")
    (run / "report.md").unlink()
    page = (run / "report.html").read_bytes()
    (run / "report.html").write_text("an older one")

    assert main(["report", str(run)]) == 0
    assert (run / "report.md").read_text() == report
    assert (run / "report.html").read_bytes() == page
    assert json.loads((run / "evaluation.json").read_text()) == json.loads(figures)
    assert [Image.open(path).tobytes() for path in pictures] == before
    printed = capsys.readouterr().out
    assert "INTACT" in printed
    assert f"report: {run / 'report.md'}" in printed
    assert f"interactive report: {run / 'report.html'}" in printed


def test_report_of_a_run_in_progress_whose_pictures_were_moved(
    tiny_run: Config, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no report, no model, and half a line of metrics."""
    for name in ("report.md", "evaluation.json", "notes.json", "model.safetensors"):
        (run / name).unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"task": "INT')
    moved = shutil.copytree(tiny_run.data.root, tmp_path / "moved")
    settings = run / "config.yaml"
    settings.write_text(settings.read_text().replace(str(tiny_run.data.root), str(tmp_path / "nowhere")))
    assert f"--data.root {tmp_path / 'nowhere'}: no such folder" in error_of(capsys, run)
    options = ["--data.root", str(moved), "--checkpoint", "best", "--json", "--evaluation.test-time", "flip"]
    assert main(["report", str(run), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == json.loads((run / "evaluation.json").read_text())["rows"]
    assert found["views"]["sr+flip"] == "SR with flip"
    assert found["thresholds"].keys() == found["rows"].keys() - {"SR with flip"}
    assert [step["rate"] for step in found["thresholds"]["INTACT"]] == [0.1]
    assert found["open_set"]["INTACT"] == []
    assert found["model_thresholds"]["views"].keys() == {"hr", "lr", "sr"}
    assert found["files"]["checkpoint"] == str(run / "checkpoints" / "best.pt")
    report = (run / "report.md").read_text()
    assert "model.safetensors" not in report
    assert "Too few queries to set a threshold by" in report

    (moved / Manifest.load(run / "manifest.jsonl").split("query")[0].path).unlink()
    assert "missing; check --data.root" in error_of(capsys, run, "--data.root", moved)


def test_damaged_test_pictures_are_left_out_where_asked(
    tiny_run: Config, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(tiny_run.data.root, tmp_path / "moved")
    name = Manifest.load(run / "manifest.jsonl").split("gallery")[0].path
    (moved / name).write_bytes(b"no picture")
    error = error_of(capsys, run, "--data.root", moved)
    assert f"{moved / name}: unreadable picture" in error
    assert "--evaluation.skip-corrupt" in error
    assert main(["report", str(run), "--data.root", str(moved), "--evaluation.skip-corrupt"]) == 0
    gallery = len(Manifest.load(run / "manifest.jsonl").split("gallery"))
    said = f"Left out as unreadable: 0 of 12 queries, 1 of {gallery} gallery pictures ({name})."
    printed = capsys.readouterr().out
    for text in (printed, *((run / file).read_text() for file in ("report.md", "report.html"))):
        assert said in " ".join(text.split())
    checkpoint = str(run / "checkpoints" / "best.pt")
    options = ["--data.root", str(moved), "--evaluation.skip-corrupt", "--queries", "lr"]
    assert main(["evaluate", "--checkpoint", checkpoint, *options]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_thresholds_at_rates_of_ones_own(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["report", str(run), "--rates", "0.3", "0.2", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out)["thresholds"].values():
        assert [threshold["rate"] for threshold in row] == [0.3, 0.2]
        assert all(threshold["false_match_rate"] <= threshold["rate"] for threshold in row)
    assert "each above 0 and below 1" in error_of(capsys, run, "--rates", "0.1", "1")


def test_as_many_queries_as_wanted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--html-queries", "2"]) == 0
    assert "2 of 12 scored queries are shown" in " ".join((run / "report.html").read_text().split())
    assert "--html-queries 0: must be 1 or more" in error_of(capsys, run, "--html-queries", 0)


def test_folders_that_give_no_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it holds no config.yaml; give runs/NAME" in error_of(capsys, run / "samples")
    assert "it holds no config.yaml; give runs/NAME" in error_of(capsys, run / "nowhere")
    (run / "checkpoints" / "best.pt").unlink()
    assert "--checkpoint best: " in error_of(capsys, run, "--checkpoint", "best")
    (run / "manifest.jsonl").rename(run / "kept")
    assert "it holds no manifest.jsonl" in error_of(capsys, run)
    (run / "kept").rename(run / "manifest.jsonl")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint of the alternating training yet" in error_of(capsys, run)
