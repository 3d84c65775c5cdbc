"""``intact-fast enhance`` and ``search``, as a user calls them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_picture
from intact_fast import SRReID
from intact_fast.cli import main
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.gallery import GalleryIndex, Unreadable, list_pictures


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 5)
    with torch.no_grad():
        critic.train()(torch.randn(8, 3, 48, 32))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    SRReID(critic, Generator((4, 4, 4, 4), skip="add"), (48, 32), lr_height=40).save_pretrained(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one below another folder, with files that are none."""
    root = tmp_path / "in"
    for i, name in enumerate(("a.jpg", "b.png", "sub/c.jpg", "d.bmp", "e.JPG")):
        write_picture(root / name, seed=i, size=(12, 24) if name == "b.png" else (24, 48))
    (root / "notes.txt").write_text("no picture")
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


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
    arguments = ("search", "--query", folder / "b.png", "--gallery", folder, "--model", model_file, "--json")
    status, printed, error = run(capsys, *arguments)
    assert (status, json.loads(printed)["gallery"]) == (1, 4)


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
        (("search", "--gallery", "{folder}/none", "--model", "{model}"), "--gallery"),
        (
            ("search", "--query", "{folder}", "--gallery", "{folder}", "--top", "0", "--model", "{model}"),
            "--top 0",
        ),
        (
            (
                "search",
                "--query",
                "{folder}",
                "--gallery",
                "{folder}",
                "--model",
                "{model}",
                "--index",
                "{model}",
            ),
            "not an index of ours",
        ),
        (
            (
                "search",
                "--query",
                "{folder}",
                "--gallery",
                "{folder}",
                "--model",
                "{model}",
                "--picture",
                "x.jpg",
            ),
            "name it .png",
        ),
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


def test_search_finds_a_picture_itself_first(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "matches.png"
    arguments = ("search", "--query", folder, "--gallery", folder, "--model", model_file, "--top", 3)
    status, printed, _ = run(capsys, *arguments, "--json", "--picture", picture)
    assert status == 0
    found = json.loads(printed)
    assert len(found["matches"]) == found["gallery"] == 5
    for query, matches in found["matches"].items():
        assert matches[0]["path"] == query
        assert matches[0]["similarity"] == pytest.approx(1, abs=1e-4)
        similarities = [match["similarity"] for match in matches]
        assert len(matches) == 3
        assert similarities == sorted(similarities, reverse=True)
    assert Image.open(picture).width > 4 * 32
    status, printed, _ = run(capsys, *arguments, "--top", 100)
    assert "5 queries, 5 gallery pictures (5 of them new), 2 other files left out" in printed


def test_the_index_follows_the_folder(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "gallery.safetensors"
    arguments = ("search", "--query", folder / "b.png", "--gallery", folder, "--model", model_file, "--json")

    def search(*more: object) -> dict[str, Any]:
        status, printed, _ = run(capsys, *arguments, *more)
        assert status == 0
        return json.loads(printed)

    assert search("--index", index)["computed"] == 5
    assert search("--index", index)["computed"] == 0
    write_picture(folder / "f.png", seed=9)
    assert search("--index", index)["computed"] == 1
    write_picture(folder / "a.jpg", seed=10)
    os.utime(folder / "a.jpg", ns=(1, 1))
    (folder / "d.bmp").unlink()
    found = search("--index", index)
    assert (found["computed"], found["gallery"]) == (1, 5)
    fresh = search()
    assert [m["path"] for m in found["matches"][str(folder / "b.png")]] == [
        m["path"] for m in fresh["matches"][str(folder / "b.png")]
    ]

    status, _, error = run(capsys, *arguments, "--index", index, "--mode", "always")
    assert status == 2
    assert "made with another model or --mode" in error
    index.write_bytes(index.read_bytes()[:40])
    assert "broken" in run(capsys, *arguments, "--index", index)[2]


def test_an_interrupted_index_goes_on(
    folder: Path, tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intact_fast.serving.gallery._SAVE_EVERY", 2)
    model = SRReID.from_pretrained(model_file, batch_size=2)
    pictures = list_pictures(folder).pictures

    def interrupt(count: int) -> None:
        interrupt.done += count  # type: ignore[attr-defined]
        if interrupt.done >= 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    interrupt.done = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        GalleryIndex(folder, "x", tmp_path / "i").update(model, pictures, Unreadable(), interrupt)
    update = GalleryIndex(folder, "x", tmp_path / "i").update(model, pictures, Unreadable())
    assert (update.computed, update.kept, update.dropped) == (3, 2, 0)


def test_faiss_gives_the_lists_of_brute_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    gallery = GalleryIndex(tmp_path, "x")
    generator = torch.Generator().manual_seed(0)
    gallery.features = torch.nn.functional.normalize(torch.randn(500, 32, generator=generator))
    gallery.names = [str(i) for i in range(500)]
    queries = torch.nn.functional.normalize(torch.randn(20, 32, generator=generator))
    scores, rows = gallery.search(queries, 7)
    monkeypatch.setattr("intact_fast.serving.gallery._FAISS_FROM", 1)
    faiss_scores, faiss_rows = gallery.search(queries, 7)
    assert torch.equal(rows, faiss_rows)
    torch.testing.assert_close(scores, faiss_scores)
    expected = queries @ gallery.features.T
    assert torch.equal(rows, expected.argsort(dim=1, descending=True)[:, :7])


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("enhance", "search"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert "--model" in capsys.readouterr().out
