"""``intact-fast enhance``, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands.command_cases import run
from intact_fast import SRReID
from intact_fast.models import Generator, build_osnet


def test_enhance_keeps_names_and_writes_what_the_model_gives(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status, printed, _ = run(capsys, "enhance", folder, out, "--model", model_file, "--batch-size", 2)
    assert status == 0
    assert "5 pictures written" in printed
    assert "1 other files left out" in printed
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"a.jpg", "b.png", "sub/c.jpg", "d.bmp", "e.JPG"}
    (expected,) = SRReID.from_pretrained(model_file).super_resolve(folder / "b.png")
    written = np.asarray(Image.open(out / "b.png")).transpose(2, 0, 1) / 255
    assert abs(written - expected.numpy()).max() < 0.51 / 255
    assert all(Image.open(path).size == (32, 48) for path in out.rglob("*.*") if path.is_file())


def test_enhance_one_file(folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, _ = run(capsys, "enhance", folder / "a.jpg", tmp_path / "x.png", "--model", model_file, "--json")
    assert status == 0
    assert json.loads(printed)["written"] == 1
    assert Image.open(tmp_path / "x.png").format == "PNG"


def test_enhance_replaces_nothing_unasked(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "c.jpg").write_text("mine")
    arguments = ("enhance", folder, out, "--model", model_file)
    status, _, error = run(capsys, *arguments)
    assert status == 2
    assert "c.jpg: exists already; add --overwrite" in error
    assert [path.name for path in out.rglob("*.*")] == ["c.jpg"]
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    status, _, error = run(capsys, "enhance", folder, folder, "--model", model_file, "--overwrite")
    assert status == 2
    assert "would replace the picture that is read" in error


def test_what_a_diverged_generator_gives_is_no_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = Generator((4, 4, 4, 4), skip="add")
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.fill_(float("nan"))
    model, out = tmp_path / "nan.safetensors", tmp_path / "out"
    SRReID(build_osnet("osnet_x0_25", 5), generator, (48, 32), lr_height=40).save_pretrained(model)
    status, _, error = run(capsys, "enhance", folder, out, "--model", model)
    assert status == 2
    assert "its enhanced picture is not a number (5 of 5 pictures of the batch)" in error
    assert list(out.rglob("*.*")) == []


def test_damaged_pictures_are_named_and_left_out(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(content[: len(content) // 2])
    status, printed, error = run(capsys, "enhance", folder, tmp_path / "out", "--model", model_file)
    assert status == 1
    assert "4 pictures written" in printed
    assert "1 unreadable" in printed
    assert "warning:" in error
    assert "a.jpg: unreadable picture" in error


def test_films_and_documents_are_left_out_and_formats_without_a_writer_become_png(
    folder: Path,
    tmp_path: Path,
    model_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("clip.mpg", "paper.pdf", "drawing.eps", "icon.ico", ".a.jpg"):
        (folder / name).write_bytes(b"")
    monkeypatch.delitem(Image.SAVE, "BMP")
    out = tmp_path / "out"
    status, printed, error = run(capsys, "enhance", folder, out, "--model", model_file)
    assert status == 0
    assert "5 pictures written" in printed
    assert "6 other files left out: 1 hidden files (.a.jpg); 5 files that are no pictures (" in printed
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"a.jpg", "b.png", "sub/c.jpg", "d.bmp.png", "e.JPG"}
    assert error == f"warning: 1 picture of a format that cannot be written got .png after the name ({folder}/d.bmp)\n"
    Image.new("RGB", (4, 4)).save(folder / "d.bmp.png")
    status, _, error = run(capsys, "enhance", folder, tmp_path / "other", "--model", model_file)
    assert status == 2
    assert f"other/d.bmp.png: two pictures of {folder} would be written there; rename one of them" in error


def test_what_is_lost_is_said_once_with_its_count(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.gif", "2.gif", "3.png"):
        Image.new("RGBA", (4, 8), (0, 0, 0, 0)).save(folder / name)
    status, _, error = run(capsys, "enhance", folder, tmp_path / "out", "--model", model_file)
    assert status == 0
    (line,) = error.splitlines()
    assert line.startswith("warning: 2 pictures lost opacity, which GIF does not hold; name them .png (")
    assert Image.open(tmp_path / "out" / "3.png").mode == "RGBA"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("enhance", "{empty}", "out", "--model", "{model}"), "holds no picture"),
        (("enhance", "{folder}/none", "out", "--model", "{model}"), "no such file or folder"),
        (
            ("enhance", "{folder}/a.jpg", "out.xyz", "--model", "{model}"),
            "no picture format that can be written",
        ),
        (("enhance", "{folder}", "out", "--model", "{folder}/notes.txt"), "no safetensors file"),
        (("enhance", "{folder}", "out", "--model", "{model}", "--batch-size", "0"), "--batch-size 0"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path,
    tmp_path: Path,
    model_file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"folder": folder, "model": model_file, "empty": tmp_path / "empty"}
    status, _, error = run(capsys, *(argument.format(**places) for argument in arguments))
    assert status == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
