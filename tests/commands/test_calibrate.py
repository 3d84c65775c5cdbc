"""``intact-fast calibrate``: thresholds of a site's pictures, as files that ``search`` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands.command_cases import error_of, run
from conftest import write_picture_folder
from intact_fast import SRReID
from intact_fast.config.options import DataConfig
from intact_fast.data.splits import obtain_manifest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 24 people in two cameras; half of the people are tested."""
    return write_picture_folder(tmp_path_factory.mktemp("site"), identities=24)


def test_a_file_that_search_reads(
    site: Path, folder: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.json"
    command = ("calibrate", model_file, "--out", out, "--device", "cpu")
    data = ("--data.dataset", "folder", "--data.root", site)
    status, printed, error = run(capsys, *command, *data)
    assert status == 0
    # 12 people, 2 queries and 2 gallery pictures of each
    assert "sr: 48 matches, 528 non-matches, queries of 12 people" in printed
    assert "--rates 0.01 0.001 0.0001: 528 pairs of two people (sr) are too few" in error
    measured = json.loads(out.read_text())["thresholds"]["views"]
    assert measured.keys() == {"hr", "lr", "sr"}
    for view in measured.values():
        (step,) = view["steps"]
        assert step["rate"] == 0.1
        assert step["false_match_rate"] <= 0.1
    search = ("search", "--query", folder, "--gallery", folder, "--model", model_file, "--json", "--thresholds", out)
    found = json.loads(run(capsys, *search, "--accept", 0.1)[1])
    used = {one["view"]: one["similarity"] for one in found["accept"]["queries"].values()}
    assert used == {view: measured[view]["steps"][0]["similarity"] for view in ("hr", "sr")}
    before = out.read_bytes()
    assert f"--out {out}: exists already" in error_of(capsys, *command, *data)
    assert out.read_bytes() == before


def test_a_manifest_and_a_model_with_its_thresholds(
    site: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = tmp_path / "site.jsonl", tmp_path / "site.safetensors"
    obtain_manifest(DataConfig(dataset="folder", root=site, interpolation="bicubic")).save(manifest)
    command = ("calibrate", model_file, "--out", out, "--rates", 0.05, 0.2, "--data.root", site)
    status, printed, _ = run(capsys, *command, "--data.manifest", manifest, "--json")
    assert status == 0
    written, before = SRReID.from_pretrained(out), SRReID.from_pretrained(model_file)
    assert written.thresholds is not None
    assert json.loads(printed) == {"out": str(out), **written.thresholds.to_plain()}
    assert [step.rate for step in written.thresholds.views["sr"].steps] == [0.05, 0.2]
    for name, value in before.state_dict().items():
        assert value.equal(written.state_dict()[name])


def test_mistakes_are_one_line(
    site: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    command = ("calibrate", model_file, "--data.dataset", "folder", "--data.root", site)
    assert "name it .json, or .safetensors" in error_of(capsys, *command, "--out", tmp_path / "x.txt")
    assert "each above 0 and below 1" in error_of(capsys, *command, "--out", out, "--rates", 1)
    assert "--evaluation.batch-size 0" in error_of(capsys, *command, "--out", out, "--evaluation.batch-size", 0)
    status, _, error = run(capsys, *command, "--out", out, "--rates", 0.001)
    assert status == 2
    assert "has 528 pairs of two people, and none of the rates has enough" in error
    assert not out.exists()
