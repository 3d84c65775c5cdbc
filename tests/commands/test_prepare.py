"""`intact-fast prepare` on tiny data sets in the official layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import write_picture
from data.dataset_fixtures import write_caviar, write_cuhk03_release, write_duke
from intact_fast.cli import main
from intact_fast.config.options import Config
from intact_fast.data.manifest import Manifest


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., int]:
    """Prepare `split.jsonl` of a data set below the temporary folder."""

    def run(*arguments: str) -> int:
        return main(["prepare", "--out", str(tmp_path / "split.jsonl"), "--data.root", str(tmp_path), *arguments])

    return run


def test_preset_is_told_and_incomplete_data_warned_about(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_duke(tmp_path / "DukeMTMC-reID")
    assert prepare("dukemtmc", "--preset", "paper") == 0
    output = capsys.readouterr()
    assert "preset paper: " in output.out
    assert "section 4.1); decided here: the filter" in output.out
    assert "does not report" not in output.out
    assert output.err.splitlines()[0] == (
        "warning: dukemtmc (train): 6 pictures of 3 identities here, 16,522 pictures of 702 identities officially; "
        "the copy may be incomplete"
    )
    manifest = Manifest.load(tmp_path / "split.jsonl")
    assert manifest.header.interpolation == "bilinear"
    assert {row.r for row in manifest.split("query")} <= {2, 3, 4}


def test_a_preset_that_divides_by_camera_says_how_its_source_scores(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "Market-1501-v15.09.15"
    for number in range(3):
        for camera in (1, 2):
            write_picture(folder / "bounding_box_train" / f"{number + 1:04d}_c{camera}s1_000001_01.jpg", number)
            write_picture(folder / "bounding_box_test" / f"{number + 10:04d}_c{camera}s1_000001_01.jpg", number)
        write_picture(folder / "query" / f"{number + 10:04d}_c1s1_000002_00.jpg", number)
    write_picture(folder / "bounding_box_test" / "0000_c1s1_000003_01.jpg", 9)
    assert prepare("market1501", "--preset", "ps-hrnet") == 0
    output = capsys.readouterr().out
    assert "is inference: " in output
    assert (
        f"--data.manifest {tmp_path / 'split.jsonl'} --evaluation.protocol multi-shot --evaluation.metric cosine "
        "--evaluation.distractors drop\n"
    ) in output
    assert "1 pictures of the gallery are distractors, which --evaluation.distractors drop leaves out." in output
    manifest = Manifest.load(tmp_path / "split.jsonl")
    assert (len(manifest.split("query")), len(manifest.split("gallery"))) == (3, 4)
    (tmp_path / "split.jsonl").unlink()
    assert prepare("market1501", "--preset", "market-camera") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("market1501 has no LR camera of its own; give --data.lr-camera as 1, 2 or random")
    assert prepare("market1501", "--preset", "market-camera", "--data.lr-camera", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["use_with"][-2:] == ["--evaluation.protocol", "multi-shot"]
    assert {row.camera for row in Manifest.load(tmp_path / "split.jsonl").split("query")} == {2}


def test_options_win_over_the_preset(prepare: Callable[..., int], tmp_path: Path) -> None:
    write_duke(tmp_path / "DukeMTMC-reID")
    options = ("--data.interpolation", "area", "--data.factors", "5")
    assert prepare("dukemtmc", "--preset", "dil", *options) == 0
    manifest = Manifest.load(tmp_path / "split.jsonl")
    assert manifest.header.interpolation == "area"
    assert {row.r for row in manifest.split("query")} == {5}


def test_preset_on_other_data_says_so(
    prepare: Callable[..., int], picture_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("folder", "--preset", "sing", "--data.root", str(picture_folder())) == 0
    output = capsys.readouterr()
    assert "does not report on folder" in output.out
    assert not output.err


def test_json(prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    assert prepare("cuhk03", "--json", "--preset", "cad", "--data.val-fraction", "0") == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    manifest = Manifest.load(tmp_path / "split.jsonl")
    assert found["hash"] == manifest.hash
    assert (found["dataset"], found["preset"], found["training_identities"]) == ("cuhk03", "cad", 4)
    assert found["splits"]["train"] == {"pictures": 15, "identities": 4}
    assert found["splits"]["gallery"] == {"pictures": 4, "identities": 2}
    assert sum(found["splits"]["query"].pop("r").values()) == 4
    assert found["splits"]["query"] == {"pictures": 4, "identities": 2}
    assert output.err.splitlines() == [*found["notes"], *(f"warning: {warning}" for warning in found["warnings"])]
    assert found["notes"][0].startswith("cuhk03: training: 4 people, 15 pictures, 2 cameras (1, 2); queries: ")
    assert len(found["warnings"]) == 2


def test_json_of_natively_lr_queries(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_caviar(tmp_path / "CAVIAR4REID")
    assert prepare("caviar", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["query"] == {"pictures": 8, "identities": 4, "r": {"native": 8}}
    assert found["splits"]["train"] == {"pictures": 8, "identities": 4}


def test_prepared_split_is_what_a_run_uses(
    tiny_run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.jsonl"
    command = ["prepare", "--out", str(out), "--data.dataset", "folder", "--data.root", str(tiny_run.data.root)]
    assert main([*command, "--data.val-fraction", str(tiny_run.data.val_fraction)]) == 0
    assert out.read_bytes() == (tiny_run.runs / tiny_run.name / "manifest.jsonl").read_bytes()
    assert "6 training identities" in capsys.readouterr().out


def test_two_data_sets_are_refused(prepare: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("viper", "--data.dataset", "folder") == 2
    assert "--data.dataset folder: the command names viper already" in capsys.readouterr().err


def test_prepared_manifest_is_described_again(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_caviar(tmp_path / "CAVIAR4REID")
    assert prepare("caviar") == 0
    copy = tmp_path / "copy.jsonl"
    manifest = str(tmp_path / "split.jsonl")
    assert main(["prepare", "--out", str(copy), "--data.manifest", manifest]) == 0
    assert copy.read_bytes() == (tmp_path / "split.jsonl").read_bytes()


def test_one_camera_is_told_with_counts_and_kept_where_asked(
    prepare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pid in range(8):
        for number in range(4):
            write_picture(tmp_path / "people" / f"{pid:04d}" / f"{number}.jpg", 10 * pid + number)
    options = ("folder", "--data.root", str(tmp_path / "people"), "--json")
    assert prepare(*options) == 2
    output = capsys.readouterr()
    *_, line = output.err.splitlines()
    assert "error: folder: all 16 test pictures of 4 people are of one camera (0), so that 16 queries have no" in line
    assert line.endswith("where the pictures have no camera ids, give --evaluation.same-camera keep")
    assert not (tmp_path / "split.jsonl").exists()
    assert prepare(*options, "--evaluation.same-camera", "keep") == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: part["pictures"] for name, part in found["splits"].items()} == {"train": 16, "query": 8, "gallery": 8}
    assert found["matches"] == {
        "same_camera": "keep",
        "queries": 8,
        "people": 4,
        "cameras": [0],
        "gallery": 8,
        "gallery_people": 4,
        "gallery_cameras": [0],
        "queries_with_match": 8,
        "queries_without_match": 0,
    }
    assert found["notes"][-1].endswith("; queries with a match: 8, without: 0")


def test_how_a_folder_was_understood_is_printed(
    prepare: Callable[..., int], picture_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = picture_folder()
    shutil.copy(root / "0000_cam1_0.jpg", root / "0001_cam2_9.jpg")
    assert prepare("folder", "--data.root", str(root)) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[0] == "folder: identity and camera by names like 0001_cam1_x.jpg"
    assert "; gallery: 6 people, " in output.out
    assert "0000_cam1_0.jpg (identity 0) = 0001_cam2_9.jpg (identity 1)" in output.err
    pattern = r"(?P<pid>[0-9]+)_cam(?P<camera>[0-9])"
    other = str(tmp_path / "other.jsonl")
    assert main(["prepare", "folder", "--data.root", str(root), "--data.name-pattern", pattern, "--out", other]) == 0
    assert f"identity and camera by --data.name-pattern {pattern}" in capsys.readouterr().out
    (tmp_path / "split.jsonl").unlink()
    assert prepare("folder", "--data.name-pattern", "[") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--data.name-pattern '[': no regular expression" in line
