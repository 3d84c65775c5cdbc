"""A user's mistakes in a training end in one line that names the option or file, and status 2."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands.command_cases import TINY, error_of
from conftest import write_picture, write_picture_folder
from intact_fast.cli import main
from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.training.critic import critic_checkpoint


@pytest.fixture
def train(tmp_path: Path, picture_folder: Callable[..., Path]) -> list[object]:
    root = picture_folder()
    return ["train", *TINY, "--runs", tmp_path / "runs", "--data.root", root]


def test_missing_root(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    assert "nowhere: no such folder" in error_of(capsys, *train, "--data.root", tmp_path / "nowhere")


def test_wrong_layout(capsys: pytest.CaptureFixture[str], train: list[object]) -> None:
    assert "looked for the folders cam_a, cam_b" in error_of(capsys, *train, "--data.dataset", "viper")


def test_lr_camera(capsys: pytest.CaptureFixture[str], train: list[object]) -> None:
    assert "--data.lr-camera 7: no query picture" in error_of(capsys, *train, "--data.lr-camera", 7)


@pytest.fixture
def one_camera(tmp_path: Path) -> list[object]:
    """Options of people in folders of their own, without camera ids."""
    for pid in range(16):
        for number in range(3):
            write_picture(tmp_path / "people" / f"p{pid}" / f"{number}.png", 10 * pid + number)
    return [*TINY, "--runs", tmp_path / "runs", "--name", "flat", "--data.root", tmp_path / "people"]


def test_one_camera_is_told_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, one_camera: list[object]
) -> None:
    critic = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 4), "osnet_x0_25"), critic)
    data = one_camera[one_camera.index("--data.root") :]
    for command in (
        ["train", *one_camera],
        ["experiments", "--recipes", "lr", *one_camera],
        ["evaluate", "--critic", critic, "--arch", "osnet_x0_25", "--data.dataset", "folder", *data],
    ):
        assert main([str(a) for a in command]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: folder: all 24 test pictures of 8 people are of one camera (0)")
    assert not list((tmp_path / "runs").rglob("*.pt"))


def test_people_without_camera_ids_from_training_to_evaluation(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, one_camera: list[object]
) -> None:
    keep = ["--evaluation.same-camera", "keep", "--data.val-fraction", "0.4", "--training.validate-every", 1]
    assert main([str(a) for a in ("train", *one_camera, *keep)]) == 0
    folder = tmp_path / "runs" / "flat"
    assert "validation at 1: Rank-1" in capsys.readouterr().out
    found = json.loads((folder / "evaluation.json").read_text())
    said = "matches of the query's own camera count"
    assert (found["queries"], found["gallery"]) == (8, 16)
    assert said in found["protocol"]
    for report in ("report.md", "report.html"):
        assert said in (folder / report).read_text(encoding="utf-8").replace("&#39;", "'")
    assert "(the same person in any camera)" in (folder / "report.md").read_text(encoding="utf-8")
    assert main(["evaluate", "--checkpoint", str(folder / "checkpoints" / "best.pt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == found["protocol"]
    drop = ["evaluate", "--checkpoint", str(folder / "checkpoints" / "best.pt"), "--evaluation.same-camera", "drop"]
    assert main(drop) == 2
    assert "error: folder: no query has a match in another camera (8 queries of 8 people" in capsys.readouterr().err


def test_several_sources_in_one_training(
    capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path
) -> None:
    """The people of a source train; so they are not tested on by what was trained."""
    more = write_picture_folder(tmp_path / "more", 4)
    assert main([str(a) for a in (*train, "--data.sources", f"folder:{more}", "--name", "joined")]) == 0
    checkpoints = tmp_path / "runs" / "joined" / "checkpoints"
    output = capsys.readouterr().out
    assert "16 pictures of 4 people train as well" in output
    assert "critic: 40 training pictures of 10 identities" in output
    (checkpoint,) = checkpoints.glob("iteration_*.pt")
    evaluate = ("evaluate", "--checkpoint", str(checkpoint), "--queries", "lr", "--json")
    assert main(evaluate) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 12
    critic = ("evaluate", "--critic", str(checkpoints / "critic.pt"), "--arch", "osnet_x0_25")
    for command in (evaluate, critic):
        assert main([*command, "--data.dataset", "folder", "--data.root", str(more)]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "people of its --data.sources are among" in line or "was trained on 2 of the 2 test" in line


def test_corrupt_training_picture(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    for picture in (tmp_path / "pictures").iterdir():
        picture.write_bytes(picture.read_bytes()[:200])
    line = error_of(capsys, *train)
    assert re.search(
        r"_cam.*\.jpg: unreadable .* training pictures out with --data\.skip-corrupt \(\d+ of \d+ cannot", line
    )


def test_corrupt_test_picture_is_never_skipped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "roles"
    for split, pids in (("train", (1, 2, 3, 4)), ("test", (5, 6))):
        for pid in pids:
            for camera in (1, 2):
                write_picture(root / split / f"{pid}_cam{camera}.jpg", pid)
    (root / "test" / "5_cam1.jpg").write_bytes(b"no picture")
    command = ["train", *TINY, "--runs", tmp_path / "runs", "--data.root", root, "--data.val-fraction", "0"]
    assert "5_cam1.jpg" in error_of(capsys, *command, "--data.skip-corrupt")
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").rglob("*.pt")), (
        "found after the training of C"
    )


def test_corrupt_training_pictures_can_be_skipped(
    capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path
) -> None:
    root = tmp_path / "roles"
    for split, pids in (("train", (1, 2, 3, 4)), ("test", (5, 6))):
        for pid in pids:
            for camera in (1, 2):
                write_picture(root / split / f"{pid}_cam{camera}.jpg", pid)
    (root / "train" / "1_cam1.jpg").write_bytes(b"no picture")
    assert main([str(a) for a in (*train, "--data.root", root, "--data.val-fraction", "0", "--data.skip-corrupt")]) == 0
    assert "Skipping unreadable picture" in capsys.readouterr().out


def test_one_identity(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    root = tmp_path / "two"
    for camera in (1, 2):
        for pid in (1, 2):
            write_picture(root / f"{pid}_cam{camera}.jpg", pid)
    assert "1 identities in the training split; at least 2" in error_of(capsys, *train, "--data.root", root)


def test_critic_class_count(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    path = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 99), "osnet_x0_25"), path)
    line = error_of(capsys, *train, "--critic.checkpoint", path)
    assert "critic.pt: its classifier knows 99 identities, the training split has 6; use --critic.init" in line


def test_critic_of_another_architecture(
    capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "critic.pt"
    torch.save(critic_checkpoint(build_osnet("osnet_x0_5", 6), "osnet_x0_5"), path)
    assert "set --critic.arch osnet_x0_5" in error_of(capsys, *train, "--critic.checkpoint", path)


def test_input_size(capsys: pytest.CaptureFixture[str], train: list[object]) -> None:
    assert "--data.height 50: G needs a multiple of 16; use 48" in error_of(capsys, *train, "--data.height", 50)


def test_batch_larger_than_the_data(capsys: pytest.CaptureFixture[str], train: list[object]) -> None:
    assert "batch-size" in error_of(capsys, *train, "--training.batch-size", 500)


def test_changed_manifest(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    split = tmp_path / "split.jsonl"
    prepare = ["prepare", "--out", split, "--data.dataset", "folder", "--data.root", tmp_path / "pictures"]
    assert main([str(a) for a in prepare]) == 0
    assert "exists already" in error_of(capsys, *prepare)
    split.write_text(split.read_text().replace('"camera": 2', '"camera": 3', 1))
    assert "split.jsonl: its hash does not match its entries" in error_of(capsys, *train, "--data.manifest", split)


def test_debug_shows_the_traceback(train: list[object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        main([str(a) for a in (*train, "--data.root", tmp_path / "nowhere", "--debug")])


@pytest.mark.parametrize("option", ["--critic.checkpoint", "--critic.init"])
def test_a_missing_critic_is_named_before_data_are_read(
    capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path, option: str
) -> None:
    line = error_of(capsys, *train, option, tmp_path / "osnet.pth", "--data.root", tmp_path / "nowhere")
    assert line == f"error: {option} {tmp_path / 'osnet.pth'}: no such file"
