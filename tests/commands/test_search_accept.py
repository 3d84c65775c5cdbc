"""``intact-fast search --accept``: what is marked, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from commands.command_cases import error_of, run
from conftest import write_picture
from intact_fast import SRReID
from intact_fast.reporting.pictures import QUERY, RIGHT
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds, write_thresholds


def of_similarity(hr: float, sr: float) -> Thresholds:
    views = {
        view: ViewThresholds(100, 5000, 20, (Threshold(0.01, limit, 0.01, 0.9),))
        for view, limit in (("hr", hr), ("sr", sr))
    }
    return Thresholds("made, test people of split 0", views)


@pytest.fixture(scope="module")
def accepting(model: SRReID, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that accepts equal pictures alone, and of LR queries nothing."""
    path = tmp_path_factory.mktemp("accepting") / "model.safetensors"
    given = SRReID(model.critic, model.generator, (48, 32), lr_height=40, thresholds=of_similarity(0.9999, 1))
    given.save_pretrained(path)
    return path


def test_matches_are_marked_and_nobody_is_none(
    folder: Path, tmp_path: Path, accepting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, page = tmp_path / "matches.png", tmp_path / "matches.html"
    command = ("search", "--query", folder, "--gallery", folder, "--model", accepting, "--top", 2, "--accept", 0.01)
    status, printed, _ = run(capsys, *command, "--picture", picture, "--html", page)
    assert status == 0
    lines = printed.splitlines()
    assert f"{folder / 'a.jpg'}: 1 accepted, above 0.9999 (hr)" in lines
    assert f"{folder / 'b.png'}: none accepted, above 1.0000 (sr)" in lines
    marked = [line for line in lines if "  match  " in line]
    assert [line.split()[0] for line in marked] == ["1"] * 4
    assert not any(line.endswith("b.png") for line in marked)
    colours = {colour for _, colour in Image.open(picture).getcolors(1 << 24)}
    for colour in (QUERY, RIGHT):
        assert tuple(bytes.fromhex(colour[1:])) in colours
    shown = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    by_name = {Path(query["name"]).name: query for query in shown["queries"]}
    assert [hit[2] for hit in by_name["a.jpg"]["hits"]["matches"]] == [1, 0]
    assert [hit[2] for hit in by_name["b.png"]["hits"]["matches"]] == [0, 0]
    assert by_name["b.png"]["limit"] == 1


def test_json_names_each_querys_threshold(folder: Path, accepting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("search", "--query", folder, "--gallery", folder, "--model", accepting, "--accept", 0.01, "--json")
    found = json.loads(run(capsys, *command)[1])
    assert found["accept"]["rate"] == 0.01
    assert found["accept"]["queries"][str(folder / "b.png")] == {"view": "sr", "similarity": 1}
    for name, matches in found["matches"].items():
        limit = found["accept"]["queries"][name]["similarity"]
        assert [match["accepted"] for match in matches] == [match["similarity"] > limit for match in matches]


def test_a_file_of_thresholds_comes_before_the_models(
    folder: Path, tmp_path: Path, accepting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from intact_fast.serving.gallery import Identity

    file = tmp_path / "site.json"
    digest = Identity.of_files([accepting], "").digest
    write_thresholds(file, of_similarity(-1, -1), str(accepting), digest)
    command = ("search", "--query", folder, "--gallery", folder, "--model", accepting, "--accept", 0.01, "--json")
    found = json.loads(run(capsys, *command, "--thresholds", file)[1])
    assert all(match["accepted"] for matches in found["matches"].values() for match in matches)
    write_thresholds(file, of_similarity(-1, -1), "another.safetensors", "0" * 64)
    assert "measured with another.safetensors" in error_of(capsys, *command, "--thresholds", file)


def test_best_pictures_of_groups_are_marked(
    tmp_path: Path, accepting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for person in range(2):
        for number in range(2):
            write_picture(tmp_path / "in" / f"{person}_{number}.png", seed=10 * person + number)
    query = tmp_path / "in" / "1_0.png"
    command = ("search", "--query", query, "--gallery", tmp_path / "in", "--model", accepting, "--accept", 0.01)
    grouped = (*command, "--columns-pattern", r"(?P<person>\d)_", "--group-by", "person")
    found = json.loads(run(capsys, *grouped, "--group", "best", "--json")[1])["matches"][str(query)]
    assert [(match["person"], match["accepted"]) for match in found] == [("1", True), ("0", False)]
    assert "give --group best" in error_of(capsys, *grouped)
    assert "--pool averages several" in error_of(capsys, *command, "--pool")


def test_what_cannot_be_accepted_is_one_line(
    folder: Path, tmp_path: Path, model_file: Path, accepting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("search", "--query", folder, "--gallery", folder)
    plain, able = (*command, "--model", model_file), (*command, "--model", accepting)
    error = error_of(capsys, *plain, "--accept", 0.01)
    assert f"--accept 0.01: {model_file} has no thresholds; measure them by intact-fast calibrate" in error
    assert "needs 100,000 pairs of two people" in error_of(capsys, *able, "--accept", 0.0001)
    assert "give --accept RATE, too" in error_of(capsys, *able, "--thresholds", tmp_path / "x.json")
    assert "a rate above 0 and below 1" in error_of(capsys, *able, "--accept", 1)
    assert "no threshold for LR queries without SR" in error_of(capsys, *able, "--accept", 0.01, "--mode", "never")
