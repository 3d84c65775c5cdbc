from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import write_picture
from data.dataset_fixtures import write_duke
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Counts, Picture
from intact_fast.data.datasets import read_dukemtmc, read_market1501, read_synthetic, read_viper
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError


@pytest.mark.parametrize("prefix", ["", "VIPeR", "viper/VIPeR"])
def test_viper_layouts(tmp_path: Path, prefix: str) -> None:
    for name in (
        "cam_a/000_45.bmp",
        "cam_a/873_90.bmp",
        "cam_b/000_90.bmp",
        "cam_b/873_0.bmp",
        "cam_b/005_0.bmp",
    ):
        write_picture(tmp_path / prefix / name, 0)
    catalogue = read_viper(tmp_path)
    assert [(p.pid, p.camera, p.subset) for p in catalogue.pictures] == [
        (0, 1, "all"),
        (873, 1, "all"),
        (0, 2, "all"),
        (873, 2, "all"),
    ]
    assert all((tmp_path / p.path).is_file() for p in catalogue.pictures)
    assert catalogue.default_lr_camera == 1


MARKET = {
    "bounding_box_train/0002_c1s1_000451_03.jpg": (2, 1, "train"),
    "bounding_box_train/0002_c3s1_000451_03.jpg": (2, 3, "train"),
    "query/0001_c6s3_001.jpg": (1, 6, "query"),
    "bounding_box_test/0001_c2s3_001.jpg": (1, 2, "gallery"),
    "bounding_box_test/0000_c2s3_001.jpg": (0, 2, "gallery"),
    "bounding_box_test/-1_c2s3_001.jpg": None,
    "bounding_box_test/Thumbs.db": None,
}


@pytest.mark.parametrize("prefix", ["", "Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501"])
def test_market_layouts(tmp_path: Path, prefix: str) -> None:
    for name in MARKET:
        path = tmp_path / prefix / name
        if path.suffix == ".db":
            path.write_bytes(b"")
        else:
            write_picture(path, 0)
    catalogue = read_market1501(tmp_path)
    expected = Counter(value for value in MARKET.values() if value is not None)
    assert Counter((p.pid, p.camera, p.subset) for p in catalogue.pictures) == expected
    assert catalogue.distractor_pid == 0
    assert catalogue.default_lr_camera is None


@pytest.mark.parametrize("prefix", ["", "DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmc-reid"])
def test_duke_layouts(tmp_path: Path, prefix: str) -> None:
    write_duke(tmp_path / prefix)
    catalogue = read_dukemtmc(tmp_path)
    assert Counter((p.pid, p.camera, p.subset) for p in catalogue.pictures) == Counter(
        [(pid, camera, "train") for pid in (2, 5, 9) for camera in (1, 8)]
        + [(1, 2, "query"), (3, 2, "query"), (1, 6, "gallery"), (3, 6, "gallery"), (7, 3, "gallery")]
    )
    assert all((tmp_path / p.path).is_file() for p in catalogue.pictures)
    assert (catalogue.distractor_pid, catalogue.default_lr_camera) == (None, None)


def test_duke_manifest_keeps_the_official_split(tmp_path: Path) -> None:
    write_duke(tmp_path / "DukeMTMC-reID")
    manifest = obtain_manifest(DataConfig(dataset="dukemtmc", root=tmp_path, val_fraction=0))
    assert Counter(row.split for row in manifest.entries) == {"train": 6, "query": 2, "gallery": 3}
    assert all(row.is_lr for row in manifest.split("query"))


def test_duke_names(tmp_path: Path) -> None:
    write_duke(tmp_path)
    write_picture(tmp_path / "query" / "0001_c9_f0046302.jpg", 0)
    with pytest.raises(UserError, match=r"0001_c9_f0046302\.jpg: not a DukeMTMC-reID file name"):
        read_dukemtmc(tmp_path)


def test_deviations_compare_with_the_official_sizes() -> None:
    pictures = (Picture("a", 1, 1, "train"), Picture("b", 1, 2, "train"), Picture("c", 2, 1, "query"))
    counts = (Counts(("train",), 2, 1), Counts(("query",), 1_002, 2), Counts(("train", "query"), None, 5))
    catalogue = Catalogue("toy", pictures, None, official=counts)
    assert catalogue.deviations() == [
        "toy (query): 1 pictures of 1 identities here, 1,002 pictures of 2 identities officially; "
        "the copy may be incomplete",
        "toy (train and query): 2 identities here, 5 identities officially; the copy may be incomplete",
    ]


@pytest.mark.parametrize("reader", [read_viper, read_market1501, read_dukemtmc])
def test_wrong_layout_says_what_was_looked_for(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"looked for the folders (cam_a|bounding_box_train)"):
        reader(tmp_path)
    with pytest.raises(UserError, match=r"--data.root .*missing: no such folder"):
        reader(tmp_path / "missing")


def test_foreign_file_names_are_named(tmp_path: Path) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        write_picture(tmp_path / folder / "0001_c1s1_001.jpg", 0)
    write_picture(tmp_path / "query" / "holiday.jpg", 0)
    with pytest.raises(UserError, match=r"holiday\.jpg: not a Market-1501 file name"):
        read_market1501(tmp_path)


def test_synthetic_is_drawn_once_and_read_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "synthetic-abc"
    for name in (
        "train/0000_cam1_00.jpg",
        "train/0000_cam2_00.jpg",
        "test/0001_cam1_00.jpg",
        "test/0001_cam2_00.jpg",
    ):
        write_picture(written / name, 0)
    monkeypatch.setattr("intact_fast.data.datasets.synthetic.write_synthetic", lambda root: written)
    catalogue = read_synthetic(tmp_path)
    assert catalogue.pictures[0].path.startswith("synthetic-abc/")
    assert Counter(p.subset for p in catalogue.pictures) == {"train": 2, "test": 2}
    assert catalogue.default_lr_camera == 0
