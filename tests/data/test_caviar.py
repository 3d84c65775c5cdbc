from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_picture
from data.dataset_fixtures import write_caviar
from intact_fast.config.options import DataConfig
from intact_fast.data.datasets import read_caviar
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError


@pytest.mark.parametrize("prefix", ["CAVIAR4REID", "caviar/CAVIAR4REID", "CAVIAR4REID/CAVIARa", "CAVIARa", ""])
def test_cameras_by_picture_number_and_lone_identities_left_out(tmp_path: Path, prefix: str) -> None:
    write_caviar(tmp_path / prefix)
    catalogue = read_caviar(tmp_path)
    assert {p.pid for p in catalogue.pictures} == set(range(1, 9))
    assert {(Path(p.path).stem[-3:], p.camera) for p in catalogue.pictures} == {
        ("001", 1),
        ("010", 1),
        ("011", 2),
        ("020", 2),
    }
    assert all((tmp_path / p.path).is_file() for p in catalogue.pictures)


@pytest.mark.parametrize("small_camera", [1, 2])
def test_camera_of_the_smaller_pictures_is_lr(tmp_path: Path, small_camera: int) -> None:
    write_caviar(tmp_path, small_camera)
    catalogue = read_caviar(tmp_path)
    assert catalogue.default_lr_camera == small_camera
    assert catalogue.natively_lr


def test_natively_lr_pictures_are_queries_without_r_and_do_not_train(tmp_path: Path) -> None:
    write_caviar(tmp_path, small_camera=1)
    manifest = obtain_manifest(DataConfig(dataset="caviar", root=tmp_path, val_fraction=0.5))
    assert {row.camera for row in manifest.split("train", "gallery", "val_gallery")} == {2}
    queries = manifest.split("query", "val_query")
    assert {(row.camera, row.is_lr, row.r) for row in queries} == {(1, True, None)}
    assert len(manifest.labels) == 4
    assert len({row.pid for row in manifest.split("query")}) == 4
    validated = {row.pid for row in manifest.split("val_query")}
    assert validated == {row.pid for row in manifest.split("val_gallery")}
    assert len(validated) == 2


def test_other_lr_camera_is_refused(tmp_path: Path) -> None:
    write_caviar(tmp_path, small_camera=2)
    config = DataConfig(dataset="caviar", root=tmp_path, lr_camera="1")
    with pytest.raises(UserError, match=r"--data\.lr-camera 1: the pictures of camera 2 are natively"):
        obtain_manifest(config)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: no such folder"):
        read_caviar(tmp_path / "missing")
    with pytest.raises(UserError, match=r"no CAVIAR4REID here; looked for pictures like 0001001\.jpg in"):
        read_caviar(tmp_path)
    write_picture(tmp_path / "0001001.jpg", 0)
    with pytest.raises(UserError, match="no identity has pictures both up to and beyond number 010"):
        read_caviar(tmp_path)
    write_picture(tmp_path / "0001011.jpg", 0)
    (tmp_path / "0001012.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0001012\.jpg: unreadable picture"):
        read_caviar(tmp_path)
    for name in ("holiday.jpg", "0001021.jpg"):
        write_picture(tmp_path / name, 0)
        with pytest.raises(UserError, match=rf"{name}: not a CAVIAR4REID file name"):
            read_caviar(tmp_path)
        (tmp_path / name).unlink()
