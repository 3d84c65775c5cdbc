"""Byte-identical pictures of a folder of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import write_picture, write_picture_folder
from intact_fast.config.options import DataConfig
from intact_fast.data.copies import find_copies
from intact_fast.data.splits import obtain_manifest


def warnings_of(root: Path, name_copies: bool = False) -> list[str]:
    found: list[str] = []
    obtain_manifest(DataConfig(dataset="folder", root=root), warn=found.append, name_copies=name_copies)
    return found


def test_copies_under_two_identities_are_counted_and_named(tmp_path: Path) -> None:
    root = write_picture_folder(tmp_path, identities=4)
    assert not warnings_of(root)
    shutil.copy(root / "0000_cam1_0.jpg", root / "0000_cam1_9.jpg")
    assert not warnings_of(root), "a copy under its own identity harms nobody"
    shutil.copy(root / "0000_cam1_0.jpg", root / "0002_cam2_9.jpg")
    shutil.copy(root / "0001_cam1_0.jpg", root / "0003_cam2_9.jpg")
    (warning,) = warnings_of(root)
    assert warning == (
        "folder: 2 pictures stand there as byte-identical copies that have several identities; keep each under the "
        "right one: 0000_cam1_0.jpg (identity 0) = 0000_cam1_9.jpg (identity 0) = 0002_cam2_9.jpg (identity 2); and 1 "
        "more"
    )
    (warning,) = warnings_of(root, name_copies=True)
    assert warning.endswith("0001_cam1_0.jpg (identity 1) = 0003_cam2_9.jpg (identity 3)")


def test_the_same_picture_in_training_and_test(tmp_path: Path) -> None:
    write_picture_folder(tmp_path / "train", identities=3)
    write_picture_folder(tmp_path / "store", identities=6)
    for pid in (4, 5):
        for picture in (tmp_path / "store").glob(f"000{pid}_*"):
            target = tmp_path / "test" / picture.name
            target.parent.mkdir(exist_ok=True)
            picture.rename(target)
    shutil.rmtree(tmp_path / "store")
    assert not warnings_of(tmp_path)
    shutil.copy(tmp_path / "train/0001_cam1_0.jpg", tmp_path / "test/0001_cam1_7.jpg")
    write_picture(tmp_path / "test/0001_cam2_7.jpg", seed=999)
    people, copies = warnings_of(tmp_path)
    assert "1 identities are in training and in test pictures (train/0001_cam1_0.jpg and test/0001_cam1_7.jpg" in people
    assert "1 pictures stand there as byte-identical copies that are in training and in test pictures" in copies
    assert "train/0001_cam1_0.jpg (identity 1) = test/0001_cam1_7.jpg (identity 1)" in copies or (
        "test/0001_cam1_7.jpg (identity 1) = train/0001_cam1_0.jpg (identity 1)" in copies
    )


def test_a_query_that_finds_itself(tmp_path: Path) -> None:
    """Under two cameras its copy is a match; under one it is left out of the ranking."""
    for role, camera in (("query", 1), ("gallery", 2)):
        for pid in (7, 8):
            write_picture(tmp_path / role / f"000{pid}_cam{camera}_0.jpg", seed=10 * pid + camera)
    write_picture_folder(tmp_path / "train", identities=3)
    shutil.copy(tmp_path / "query/0007_cam1_0.jpg", tmp_path / "gallery/0007_cam1_1.jpg")
    assert not warnings_of(tmp_path)
    shutil.copy(tmp_path / "query/0008_cam1_0.jpg", tmp_path / "gallery/0008_cam2_1.jpg")
    (warning,) = warnings_of(tmp_path)
    assert "1 pictures stand there as byte-identical copies that are queries and gallery pictures that match" in warning
    assert "query/0008_cam1_0.jpg (identity 8)" in warning


def test_files_of_equal_size_that_differ_late(tmp_path: Path) -> None:
    root = write_picture_folder(tmp_path, identities=4)
    manifest = obtain_manifest(DataConfig(dataset="folder", root=root))
    for name, end in (("0000_cam1_0.jpg", b"x"), ("0001_cam1_0.jpg", b"x"), ("0002_cam1_0.jpg", b"y")):
        (root / name).write_bytes(bytes(100_000) + end)
    (root / "0003_cam1_0.jpg").unlink()
    (group,) = find_copies(manifest, root).of_several_people
    assert [entry.path for entry in group] == ["0000_cam1_0.jpg", "0001_cam1_0.jpg"]
