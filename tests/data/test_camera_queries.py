"""Queries by camera, on catalogues with and without queries of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import write_picture
from data.dataset_fixtures import write_caviar
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.manifest import Manifest
from intact_fast.data.matches import count_matches
from intact_fast.data.splits import build_manifest, obtain_manifest
from intact_fast.errors import UserError

CAMERAS = (1, 2, 3)
ALONE = 19
"""The last test identity: two pictures of camera 3."""
BYSTANDER = 30
"""In the gallery, and no query's person."""


def fixed_queries() -> Catalogue:
    """Ten identities that train, ten that are asked for; distractors and a bystander in the gallery."""
    pictures = [Picture(f"t{pid}_{c}", pid, c, "train") for pid in range(10) for c in CAMERAS]
    pictures += [Picture(f"q{pid}", pid, 3, "query") for pid in range(10, 20)]
    pictures += [
        Picture(f"g{pid}_{c}_{n}", pid, c, "gallery") for pid in range(10, 19) for c in CAMERAS for n in (0, 1)
    ]
    pictures += [Picture(f"g{ALONE}_{n}", ALONE, 3, "gallery") for n in (0, 1)]
    pictures += [Picture(f"g{BYSTANDER}_{c}", BYSTANDER, c, "gallery") for c in CAMERAS]
    pictures += [Picture(f"d{c}", 0, c, "gallery") for c in CAMERAS]
    pictures = [picture for picture in pictures if (picture.pid, picture.subset) != (0, "train")]
    return Catalogue("market1501", tuple(pictures), default_lr_camera=None, distractor_pid=0)


def paths(manifest: Manifest, *names: str) -> set[str]:
    return {entry.path for entry in manifest.split(*names)}  # type: ignore[arg-type]


def test_a_fixed_camera_makes_all_its_pictures_queries() -> None:
    manifest = build_manifest(fixed_queries(), DataConfig(test_queries="camera", lr_camera="3", val_fraction=0))
    assert paths(manifest, "query") == {f"g{pid}_3_{n}" for pid in range(10, 19) for n in (0, 1)}
    everything = {picture.path for picture in fixed_queries().pictures if picture.subset == "gallery"}
    assert paths(manifest, "query", "gallery") == everything, "no own query, and nothing of the gallery is lost"
    assert all(entry.is_lr == (entry.split == "query") == (entry.r is not None) for entry in manifest.entries)
    matches = count_matches(manifest, "drop")
    assert (matches.found, matches.missing) == (18, 0)
    assert (manifest.header.lr_camera, manifest.header.distractor_pid) == (3, 0)


def test_a_drawn_camera_is_each_identitys_own() -> None:
    config = DataConfig(test_queries="camera", lr_camera="random", val_fraction=0.4)
    manifest = build_manifest(fixed_queries(), config)
    asked: dict[int, set[int]] = {}
    for entry in manifest.split("query"):
        asked.setdefault(entry.pid, set()).add(entry.camera)
    assert asked.keys() == set(range(10, 19)), "neither the one of one camera nor the bystander"
    assert all(len(cameras) == 1 for cameras in asked.values())
    assert set().union(*asked.values()) == set(CAMERAS)
    assert len(manifest.split("query")) == 18
    assert not any(entry.camera in asked.get(entry.pid, ()) for entry in manifest.split("gallery"))
    assert count_matches(manifest, "drop").missing == count_matches(manifest, "drop", validation=True).missing == 0
    assert build_manifest(fixed_queries(), config).hash == manifest.hash
    other = DataConfig(test_queries="camera", lr_camera="random", val_fraction=0.4, split_seed=1)
    assert paths(build_manifest(fixed_queries(), other), "query") != paths(manifest, "query")


@pytest.mark.parametrize("same_camera", ["drop", "keep"])
def test_people_of_one_camera_are_asked_for_only_where_they_match(same_camera: str) -> None:
    config = DataConfig(test_queries="camera", lr_camera="3", val_fraction=0)
    manifest = build_manifest(fixed_queries(), config, same_camera)  # type: ignore[arg-type]
    alone = [entry.split for entry in manifest.split("query", "gallery") if entry.pid == ALONE]
    assert sorted(alone) == (["gallery", "gallery"] if same_camera == "drop" else ["gallery", "query"])
    assert count_matches(manifest, same_camera).missing == 0  # type: ignore[arg-type]


def test_where_the_camera_divides_already_nothing_changes(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder()
    splits = [
        obtain_manifest(DataConfig(dataset="folder", root=root, test_queries=which))  # type: ignore[arg-type]
        for which in ("official", "camera")
    ]
    assert splits[0].hash == splits[1].hash


@pytest.mark.parametrize(
    ("lr_camera", "message"),
    [
        (
            "auto",
            "--data.test-queries camera: market1501 has no LR camera of its own; give --data.lr-camera as 1, 2, 3",
        ),
        ("7", "--data.lr-camera 7: no query picture of that camera in market1501; give one of 1, 2, 3 or random"),
    ],
)
def test_the_lr_camera_has_to_be_said(lr_camera: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_manifest(fixed_queries(), DataConfig(test_queries="camera", lr_camera=lr_camera))


def test_natively_lr_queries_are_refused(tmp_path: Path) -> None:
    write_caviar(tmp_path / "CAVIAR4REID")
    with pytest.raises(UserError, match=r"--data\.test-queries camera: caviar has natively .* leave the option out"):
        obtain_manifest(DataConfig(dataset="caviar", root=tmp_path, test_queries="camera"))


def test_people_of_one_camera_each_leave_no_query(tmp_path: Path) -> None:
    for pid in range(8):
        for number in range(3):
            write_picture(tmp_path / f"{pid:04d}_cam1_{number}.jpg", 10 * pid + number)
    with pytest.raises(
        UserError, match="no query picture among 12 test pictures; test identities need pictures of two"
    ):
        obtain_manifest(DataConfig(dataset="folder", root=tmp_path, test_queries="camera"))


def test_own_queries_that_are_left_out_are_told(tmp_path: Path) -> None:
    for role, pids in (("train", (1, 2)), ("query", (3, 4)), ("gallery", (3, 4))):
        for pid in pids:
            for camera in (1, 2):
                write_picture(tmp_path / role / f"{pid}_cam{camera}.jpg", 100 * pid + 10 * camera + len(role))
    notes: list[str] = []
    config = DataConfig(dataset="folder", root=tmp_path, test_queries="camera", lr_camera="2")
    manifest = obtain_manifest(config, explain=notes.append)
    assert paths(manifest, "query") == {"gallery/3_cam2.jpg", "gallery/4_cam2.jpg"}
    assert any("folder: its 4 own queries are left out" in note for note in notes)
