"""``intact-fast search``, as a user calls it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from commands.command_cases import run
from conftest import write_picture
from intact_fast.commands import search
from intact_fast.serving.gallery import Gallery, Identity

_FOLDERS = ("--query", "{folder}", "--gallery", "{folder}", "--model", "{model}")


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


def test_a_picture_of_many_queries_shows_some(
    folder: Path,
    tmp_path: Path,
    model_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("search", "--query", folder, "--gallery", folder, "--model", model_file, "--top", 1, "--json")
    drawn: list[list[str]] = []
    monkeypatch.setattr(search, "_DRAWN_QUERIES", 3)
    monkeypatch.setattr(search, "save_matches", lambda rows, *_: drawn.append([path.name for path in rows]))
    status, _, error = run(capsys, *arguments, "--picture", tmp_path / "m.png", "--html-queries", 4)
    assert status == 0
    assert drawn == [["a.jpg", "d.bmp", "c.jpg"]]
    (line,) = [line for line in error.splitlines() if "--picture" in line]
    assert (
        "m.png: shows 3 of 5 queries, from the first to the last at equal distances; --html x.html --html-queries 5"
        in line
    )
    status, _, error = run(capsys, *arguments, "--query", folder / "a.jpg", "--picture", tmp_path / "m.png")
    assert "--picture" not in error


def test_the_index_follows_the_folder(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "gallery.lance"
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
    assert "mode=auto" in error
    assert "mode=always" in error
    assert search("--index", index, "--mode", "always", "--rebuild")["computed"] == 5
    for manifest in (index / "_versions").iterdir():
        manifest.write_bytes(manifest.read_bytes()[:40])
    assert "broken" in run(capsys, *arguments, "--index", index)[2]


def test_the_folder_may_move_or_be_gone(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = tmp_path / "query.png"
    query.write_bytes((folder / "b.png").read_bytes())
    arguments = ("search", "--query", query, "--model", model_file, "--index", tmp_path / "g.lance", "--json")
    found = [run(capsys, *arguments, "--gallery", folder)]
    moved = folder.rename(tmp_path / "moved")
    found.append(run(capsys, *arguments, "--gallery", moved))
    found.append(run(capsys, *arguments, "--gallery", folder))
    folder.mkdir()
    found.append(run(capsys, *arguments, "--gallery", folder))
    assert [status for status, _, _ in found] == [0, 0, 0, 0]
    results = [json.loads(printed) for _, printed, _ in found]
    assert [result["computed"] for result in results] == [5, 0, 0, 0]
    for result, place in zip(results, (folder, moved, folder, folder), strict=True):
        paths = [Path(match["path"]).relative_to(place) for match in result["matches"][str(query)]]
        assert len(paths) == 5
        assert paths[0] == Path("b.png")
    assert "the answer is from --index" in found[3][2]
    status, _, error = run(capsys, *arguments, "--gallery", tmp_path / "gone", "--html", tmp_path / "x.html")
    assert (status, "--html: shows pictures" in error) == (2, True)


def test_most_of_an_index_stays_where_the_gallery_is_mounted_in_part(
    tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "gallery"
    for i in range(12):
        write_picture(gallery / f"{i}.png", seed=i)
    query, index, file = gallery / "0.png", tmp_path / "g.lance", tmp_path / "f.parquet"
    arguments = ("search", "--query", query, "--model", model_file, "--index", index, "--json")
    assert run(capsys, *arguments, "--gallery", gallery)[0] == 0
    assert run(capsys, "embed", query, file, "--model", model_file)[0] == 0
    for i in range(1, 12):
        (gallery / f"{i}.png").unlink()
    write_picture(gallery / "new.png", seed=20)
    for place in (gallery, file):
        status, _, error = run(capsys, *arguments, "--gallery", place)
        assert (status, error.count("\n")) == (2, 1)
        assert f"--gallery {place}: lacks 11 of the 12 pictures in --index {index}, which stays as it is" in error
        assert len(Gallery.open(index)) == 12
    status, printed, _ = run(capsys, *arguments, "--gallery", gallery, "--drop-vanished")
    assert (status, json.loads(printed)["gallery"]) == (0, 2)


def test_columns_filter_group_and_pool(tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "people"
    for person in range(3):
        for camera in range(2):
            for number in range(2):
                write_picture(folder / f"{person}_c{camera}_{number}.png", seed=10 * person + number)
    arguments = ("search", "--query", folder / "1_c0_0.png", "--gallery", folder, "--model", model_file, "--json")
    pattern = ("--columns-pattern", r"(?P<person>\d)_c(?P<camera>\d)")

    def search(*more: object) -> dict[str, list[dict[str, Any]]]:
        status, printed, error = run(capsys, *arguments, *pattern, *more)
        assert status == 0, error
        return json.loads(printed)["matches"]

    (found,) = search("--where", "camera != 1 and width > 3").values()
    assert len(found) == 6
    assert {match["camera"] for match in found} == {"0"}
    assert found[0].keys() == {"path", "similarity", "camera", "person", "width", "height", "hash"}
    (found,) = search("--not-own-camera", "--top", 2).values()
    assert next(Path(match["path"]).name for match in found) == "1_c1_0.png"
    # the same content stands in both cameras
    (found,) = search("--not-self", "--top", 20).values()
    assert len(found) == 10
    for form in ("mean", "best"):
        (found,) = search("--group-by", "person", "--group", form).values()
        assert next(match["person"] for match in found) == "1"
        assert len(found) == 3
    pooled = search("--query", folder, "--pool", "--top", 1)
    assert {name: found[0]["person"] for name, found in pooled.items()} == {"0": "0", "1": "1", "2": "2"}


def test_columns_come_from_a_table(tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, table = tmp_path / "in", tmp_path / "columns.csv"
    for i in range(4):
        write_picture(folder / f"{i}.png", seed=i)
    table.write_text(
        "path,camera,time,track\n0.png,007,2024-01-31T10:00:00Z,t1\n1.png,7,20240201_000000,t1\n2.png,7,,t2\n"
    )
    arguments = ("search", "--query", folder / "3.png", "--gallery", folder, "--model", model_file, "--json")
    status, printed, error = run(
        capsys, *arguments, "--columns", table, "--where", "time between '2024-01-01' and '2024-02-01'"
    )
    assert status == 0
    (found,) = json.loads(printed)["matches"].values()
    told = {Path(match["path"]).name: (match["camera"], match["time"]) for match in found}
    assert told == {"0.png": ("007", "2024-01-31T10:00:00"), "1.png": ("7", "2024-02-01T00:00:00")}
    assert "gives nothing for 1 of 4 pictures, such as 3.png" in error


def test_damaged_pictures_are_named_and_left_out(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(content[: len(content) // 2])
    arguments = ("search", "--query", folder / "b.png", "--gallery", folder, "--model", model_file, "--json")
    status, printed, error = run(capsys, *arguments)
    assert (status, json.loads(printed)["gallery"]) == (1, 4)
    assert "a.jpg: unreadable picture" in error


def test_a_query_that_cannot_be_read_is_named_beside_a_gallery_elsewhere(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.jpg").write_bytes(b"no picture")
    write_picture(tmp_path / "gallery" / "x.png", 9)
    arguments = ("search", "--query", folder, "--gallery", tmp_path / "gallery", "--model", model_file, "--json")
    status, printed, error = run(capsys, *arguments)
    assert (status, len(json.loads(printed)["matches"])) == (1, 4)
    assert "a.jpg: unreadable picture" in error


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_an_index_that_names_a_file_elsewhere_is_refused(
    folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """As from an empty gallery, whose index is taken as it is."""
    write_picture(tmp_path / "secret.png", 9)
    (tmp_path / "gallery").mkdir()
    settings = "mode=auto lr_height=40 precision=fp32"
    gallery = Gallery.open(tmp_path / "x.lance", Identity.of_files([model_file], settings))
    gallery.add([name], torch.ones(1, 512))
    arguments = ("search", "--query", folder / "a.jpg", "--gallery", tmp_path / "gallery", "--model", model_file)
    options = ("--index", tmp_path / "x.lance", "--html", tmp_path / "x.html")
    status, _, error = run(capsys, *arguments, *options)
    assert status == 2
    assert f"error: --index {tmp_path / 'x.lance'}: holds {name}, which is not below --gallery" in error
    assert not (tmp_path / "x.html").exists()


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
            "an index is a folder now",
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
        (("search", *_FOLDERS, "--index", "x.safetensors"), "name it x.lance"),
        (("search", *_FOLDERS, "--rebuild"), "--rebuild: makes an index again; give --index"),
        (("search", *_FOLDERS, "--approximate"), "--approximate: needs an index that stays"),
        (("search", *_FOLDERS, "--where", "nothing = 3"), "--where nothing = 3: "),
        (("search", *_FOLDERS, "--where", "camera < 3"), "camera is text"),
        (("search", *_FOLDERS, "--where", "time > 'noon'"), "time 'noon' is neither"),
        (
            ("search", *_FOLDERS, "--columns-pattern", "(?P<who>.)"),
            "--columns-pattern '(?P<who>.)': needs named groups",
        ),
        (("search", *_FOLDERS, "--columns-pattern", "("), "no regular expression"),
        (("search", *_FOLDERS, "--columns", "none.csv"), "--columns none.csv: no such file"),
        (("search", *_FOLDERS, "--columns", "{folder}/notes.txt"), "give a CSV or Parquet file with a column path"),
        (("search", *_FOLDERS, "--not-own-camera"), "--not-own-camera: no query has a camera"),
        (("search", *_FOLDERS, "--group-by", "track"), "--group-by track: no picture has a track"),
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
