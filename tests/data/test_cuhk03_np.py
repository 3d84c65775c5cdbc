"""CUHK03-NP's folders; pictures are noise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from conftest import write_picture
from data.dataset_fixtures import write_cuhk03_np
from intact_fast.config.options import CUHK03Boxes, DataConfig
from intact_fast.data.datasets import read_cuhk03_np
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError


@pytest.mark.parametrize("boxes", ["detected", "labeled"])
@pytest.mark.parametrize("prefix", ["CUHK03-NP", "cuhk03-np", ""])
def test_layouts(tmp_path: Path, boxes: CUHK03Boxes, prefix: str) -> None:
    write_cuhk03_np(tmp_path / prefix / boxes)
    for root in {tmp_path, tmp_path / prefix, tmp_path / prefix / boxes}:
        catalogue = read_cuhk03_np(root, boxes)
        assert Counter((p.pid, p.camera, p.subset) for p in catalogue.pictures) == Counter(
            [(pid, camera, "train") for pid in (1, 2) for camera in (1, 2)]
            + [(pid, 1, "query") for pid in (768, 1467)]
            + [(pid, camera, "gallery") for pid in (768, 1467) for camera in (1, 2)]
        )
        assert all((root / p.path).is_file() for p in catalogue.pictures)


@pytest.mark.parametrize(("boxes", "train", "gallery"), [("detected", "7,365", "5,332"), ("labeled", "7,368", "5,328")])
def test_official_sizes(tmp_path: Path, boxes: CUHK03Boxes, train: str, gallery: str) -> None:
    write_cuhk03_np(tmp_path / "CUHK03-NP" / boxes)
    warnings: list[str] = []
    config = DataConfig(dataset="cuhk03-np", root=tmp_path, cuhk03_boxes=boxes)
    manifest = obtain_manifest(config, warn=warnings.append)
    assert all(entry.is_lr for entry in manifest.split("query"))
    assert f"{train} pictures of 767 identities officially" in warnings[0]
    assert "1,400 pictures of 700 identities officially" in warnings[1]
    assert f"{gallery} pictures of 700 identities officially" in warnings[2]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no CUHK03-NP here; looked for the folders bounding_box_train, query, bounding"
    ):
        read_cuhk03_np(tmp_path)
    write_cuhk03_np(tmp_path / "labeled")
    with pytest.raises(UserError, match=r"holds labeled boxes; give --data\.cuhk03-boxes"):
        read_cuhk03_np(tmp_path / "labeled", "detected")
    write_picture(tmp_path / "labeled" / "query" / "1_001_1_01.png", 0)
    with pytest.raises(UserError, match=r"1_001_1_01\.png: not a CUHK03-NP file name \(expected like 0001_c1_1\.png\)"):
        read_cuhk03_np(tmp_path, "labeled")
