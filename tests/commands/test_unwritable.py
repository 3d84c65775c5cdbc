"""Every command says in one line which file cannot be written; what is finished stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from commands.command_cases import TINY, error_of
from conftest import write_picture
from experiments.tiny_table import TINY as TINY_TABLE
from intact_fast.config.options import Config
from intact_fast.files import check_writable

NOWHERE = Path("/proc/nowhere")


def commands_that_write(run: Path, pictures: Path, model: Path, target: Path) -> dict[str, list[object]]:
    search = ["search", "--query", pictures, "--gallery", pictures, "--model", model]
    folder = ["--data.dataset", "folder", "--data.root", pictures]
    return {
        "train": ["train", *TINY, "--data.root", pictures, "--runs", target],
        "experiments": ["experiments", *TINY_TABLE, "--recipes", "lr", *folder, "--runs", target],
        "synthetic": ["train", "--preset", "cpu", "--data.root", target, "--runs", pictures / "runs"],
        "prepare": ["prepare", *folder, "--out", target / "split.jsonl"],
        "export": ["export", "--model", model, "--out", target / "model.safetensors"],
        "enhance": ["enhance", pictures, target, "--model", model],
        "enhance one": ["enhance", pictures / "0000_cam1_0.jpg", target / "a.png", "--model", model],
        "search --index": [*search, "--index", target / "gallery.lance"],
        "search --picture": [*search, "--picture", target / "found.png"],
        "search --html": [*search, "--html", target / "found.html"],
    }


NAMES = [*commands_that_write(*[Path()] * 4)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [NOWHERE, Path("file")])
def test_places_that_take_no_file(
    capsys: pytest.CaptureFixture[str],
    picture_folder: Callable[..., Path],
    model_file: Path,
    tmp_path: Path,
    name: str,
    place: Path,
) -> None:
    (tmp_path / "file").touch()
    pictures = picture_folder(4, 1) if name.startswith(("search", "enhance")) else picture_folder()
    target = tmp_path / place
    line = error_of(capsys, *commands_that_write(tmp_path, pictures, model_file, target)[name])
    assert str(target) in line
    assert "cannot be written (" in line


def test_enhanced_pictures_of_a_full_disk_are_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model_file: Path, tiny_disk: Path
) -> None:
    for number in range(60):
        write_picture(tmp_path / "in" / f"{number:02d}.jpg", seed=number)
    line = error_of(capsys, "enhance", tmp_path / "in", tiny_disk, "--model", model_file, "--batch-size", "8")
    assert "cannot be written (No space left on device); make room there" in line
    finished = sorted(tiny_disk.iterdir())
    assert 3 < len(finished) < 60
    for path in finished:
        Image.open(path).load()


def test_the_report_of_a_run_that_may_only_be_read(
    capsys: pytest.CaptureFixture[str], tiny_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is evaluated."""
    run = shutil.copytree(tiny_run.runs / tiny_run.name, tmp_path / "run")
    monkeypatch.setattr("intact_fast.commands.report.check_writable", lambda path, *a, **k: check_writable(NOWHERE, *a))
    monkeypatch.setattr("intact_fast.commands.report.evaluate", None)
    assert "report /proc/nowhere: cannot be written" in error_of(capsys, "report", run)


def test_a_training_on_a_full_disk(
    capsys: pytest.CaptureFixture[str], picture_folder: Callable[..., Path], tiny_disk: Path
) -> None:
    line = error_of(capsys, "train", *TINY, "--data.root", picture_folder(), "--runs", tiny_disk)
    assert "cannot be written (No space left on device); make room there" in line
    assert not list(tiny_disk.rglob("*.tmp"))


@pytest.mark.parametrize("command", [["help"], ["prepare", "--data.root", "pictures", "--out", "m.jsonl", "folder"]])
def test_standard_output_on_a_full_disk(
    tmp_path: Path, picture_folder: Callable[..., Path], command: list[str]
) -> None:
    picture_folder()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "intact_fast.cli", *command],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    if command == ["help"] and "unknown command" in done.stderr:
        return
    assert done.stderr.startswith("error: standard output")
    assert done.stderr.count("\n") == 1
