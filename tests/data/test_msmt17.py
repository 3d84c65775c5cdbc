"""MSMT17 in both versions' layouts; pictures are noise."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from data.dataset_fixtures import MSMT17_PARTS, write_msmt17
from intact_fast.config.options import DataConfig
from intact_fast.data.datasets import read_msmt17
from intact_fast.data.datasets.msmt17 import OFFICIAL
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError

EXPECTED = Counter(
    [(pid, camera, "train") for pid in range(3) for camera in (1, 15, 4)]
    + [(pid, 1, "query") for pid in (10_000, 10_001)]
    + [(pid, camera, "gallery") for pid in (10_000, 10_001) for camera in (1, 9)]
)


@pytest.mark.parametrize(
    ("prefix", "version"),
    [("MSMT17_V1", 1), ("msmt17/MSMT17_V1", 1), ("MSMT17_V2", 2), ("msmt17/MSMT17_V2", 2), ("MSMT17", 2), ("", 1)],
)
def test_layouts(tmp_path: Path, prefix: str, version: int) -> None:
    write_msmt17(tmp_path / prefix, version)
    catalogue = read_msmt17(tmp_path)
    assert Counter((p.pid, p.camera, p.subset) for p in catalogue.pictures) == EXPECTED
    assert all((tmp_path / p.path).is_file() for p in catalogue.pictures)
    assert (catalogue.default_lr_camera, catalogue.distractor_pid) == (None, None)


def test_official_sizes(tmp_path: Path) -> None:
    """126,441 pictures of 4,101 people, of which 1,041 train."""
    assert sum(counts.pictures or 0 for counts in OFFICIAL) == 126_441
    write_msmt17(tmp_path / "MSMT17_V1")
    found = read_msmt17(tmp_path).deviations()
    assert found[0] == (
        "msmt17 (train): 9 pictures of 3 identities here, 32,621 pictures of 1,041 identities officially; the copy may "
        "be incomplete"
    )
    assert "11,659 pictures of 3,060 identities" in found[1]
    assert "82,161 pictures of 3,060 identities" in found[2]


def test_people_of_both_sides_are_different_people(tmp_path: Path) -> None:
    write_msmt17(tmp_path / "MSMT17_V1")
    manifest = obtain_manifest(DataConfig(dataset="msmt17", root=tmp_path))
    assert len(manifest.labels) == 3
    assert not manifest.labels.keys() & {entry.pid for entry in manifest.split("query", "gallery")}
    assert all(entry.is_lr for entry in manifest.split("query"))


def test_lists_as_others_save_them(tmp_path: Path) -> None:
    folder = tmp_path / "MSMT17_V1"
    write_msmt17(folder)
    for path in folder.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(read_msmt17(tmp_path).pictures) == 15


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MSMT17 here; looked for the folders train and test or mask_train_v2 and"):
        read_msmt17(tmp_path)
    folder = tmp_path / "MSMT17_V1"
    write_msmt17(folder)
    lost = folder / MSMT17_PARTS[1][1] / "0001"
    shutil.move(lost, tmp_path / "aside")
    with pytest.raises(UserError, match=r"no such picture, and 0 more of .*list_query\.txt are missing"):
        read_msmt17(tmp_path)
    shutil.move(tmp_path / "aside", lost)
    (folder / "list_val.txt").unlink()
    with pytest.raises(UserError, match=r"list_val\.txt: no such file; copy it from the archive"):
        read_msmt17(tmp_path)


@pytest.mark.parametrize("line", ["0000/0000_000_01_0303morning_0008_0.jpg", "0000/a.jpg 0", "x"])
def test_a_damaged_list_is_named(tmp_path: Path, line: str) -> None:
    write_msmt17(tmp_path / "MSMT17_V1")
    (tmp_path / "MSMT17_V1" / "list_train.txt").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=r"list_train\.txt, line 2: .* is no line of MSMT17"):
        read_msmt17(tmp_path)
