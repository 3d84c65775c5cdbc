"""``intact-fast search``, as a user calls it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from commands.command_cases import run
from conftest import write_picture


def test_search_finds_a_picture_itself_first(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, page = tmp_path / "matches.png", tmp_path / "new" / "matches.html"
    arguments = ("search", "--query", folder, "--gallery", folder, "--model", model_file, "--top", 3)
    status, printed, _ = run(capsys, *arguments, "--json", "--picture", picture, "--html", page)
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
    shown = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    assert [query["name"] for query in shown["queries"]] == [*found["matches"]]
    gallery = {row: str(folder / name) for row, (name, *_) in shown["gallery"].items()}
    for query in shown["queries"]:
        paths = [gallery[str(row)] for row, _, _ in query["hits"]["matches"]]
        assert paths == [match["path"] for match in found["matches"][query["name"]]]
        assert ("sr" in query["pictures"]) == query["name"].endswith("b.png")
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


def test_damaged_pictures_are_named_and_left_out(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(content[: len(content) // 2])
    arguments = ("search", "--query", folder / "b.png", "--gallery", folder, "--model", model_file, "--json")
    status, printed, error = run(capsys, *arguments)
    assert (status, json.loads(printed)["gallery"]) == (1, 4)
    assert "a.jpg: unreadable picture" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
        (
            ("search", "--query", "{folder}", "--gallery", "{folder}", "--model", "no model", "--html", "x.txt"),
            "--html x.txt: is written as HTML; name it .html",
        ),
        (
            ("search", "--query", "{folder}", "--gallery", "{folder}", "--model", "no model", "--html", "{page}"),
            "is a folder; give another name",
        ),
        (
            ("search", "--query", "{folder}", "--gallery", "{folder}", "--model", "no model", "--html-queries", "0"),
            "--html-queries 0: must be 1 or more",
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
    page = tmp_path / "page.html"
    page.mkdir()
    places = {"folder": folder, "model": model_file, "page": page}
    status, _, error = run(capsys, *(argument.format(**places) for argument in arguments))
    assert status == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
