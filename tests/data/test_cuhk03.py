from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.dataset_fixtures import (
    PERSONS,
    TESTSETS,
    cuhk03_cells,
    cuhk03_names,
    cuhk03_pixels,
    write_cuhk03_new_protocol,
    write_cuhk03_pictures,
    write_cuhk03_release,
)
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue
from intact_fast.data.datasets import read_cuhk03
from intact_fast.data.splits import build_manifest, obtain_manifest
from intact_fast.errors import UserError

NEW = "cuhk03_new_protocol_config_detected.mat"


def pids(catalogue: Catalogue, *subsets: str) -> set[int]:
    return {p.pid for p in catalogue.pictures if p.subset in subsets}


@pytest.mark.parametrize(
    ("mat", "pictures"),
    [
        ("cuhk03/cuhk03_release/cuhk-03.mat", "cuhk03/cuhk03_release/images_detected"),
        ("cuhk03_release/cuhk-03.mat", "cuhk03_release/images_detected"),
        ("cuhk-03.mat", "images_detected"),
    ],
)
def test_release_is_extracted_beside_it(tmp_path: Path, mat: str, pictures: str) -> None:
    write_cuhk03_release(tmp_path / mat)
    catalogue = read_cuhk03(tmp_path)
    assert [Path(p.path).name for p in catalogue.pictures] == cuhk03_names()
    assert {str(Path(p.path).parent) for p in catalogue.pictures} == {pictures}
    for cell, picture in zip(cuhk03_cells(), catalogue.pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / picture.path)), cuhk03_pixels(*cell))
        assert picture.camera == (1 if cell[2] <= 5 else 2)
        assert picture.pid == 1000 * cell[0] + cell[1]
    assert not (tmp_path / pictures).with_name("images_labeled").exists()


def test_labelled_boxes_are_the_other_cells(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    catalogue = read_cuhk03(tmp_path, boxes="labeled")
    assert {str(Path(p.path).parent) for p in catalogue.pictures} == {"images_labeled"}
    for cell, picture in zip(cuhk03_cells(), catalogue.pictures, strict=True):
        expected = cuhk03_pixels(*cell, boxes="labeled")
        assert np.array_equal(np.asarray(Image.open(tmp_path / picture.path)), expected)


def test_classic_test_set_by_seed(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    for seed in (0, 3, 21):
        catalogue = read_cuhk03(tmp_path, split_seed=seed)
        expected = {1000 * pair + person for pair, person in TESTSETS[seed % 20]}
        assert pids(catalogue, "test") == expected
        assert len(pids(catalogue, "train")) == sum(PERSONS) - 2
        assert catalogue.default_lr_camera == 1
    assert read_cuhk03(tmp_path, split_seed=20) == read_cuhk03(tmp_path, split_seed=0)


def test_classic_manifest(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    manifest = obtain_manifest(DataConfig(dataset="cuhk03", root=tmp_path, val_fraction=0, split_seed=3))
    assert {(row.camera, row.is_lr) for row in manifest.split("query")} == {(1, True)}
    assert {(row.camera, row.is_lr) for row in manifest.split("gallery")} == {(2, False)}
    assert {row.r for row in manifest.split("query")} <= {2, 3, 4}
    assert Counter(row.split for row in manifest.entries) == {"train": 16, "query": 4, "gallery": 3}


def test_extraction_happens_once_and_tells_its_progress(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    done: list[int] = []

    @contextmanager
    def listen(name: str, total: int):  # type: ignore[no-untyped-def]
        assert name == "CUHK03, detected"
        done.append(-total)
        yield done.append

    first = read_cuhk03(tmp_path, progress=listen)
    assert sum(done) == 0
    (tmp_path / "cuhk-03.mat").unlink()
    assert read_cuhk03(tmp_path, progress=listen) == first
    assert done.count(-10 * sum(PERSONS)) == 1


def test_interrupted_extraction_goes_on_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    save, calls = Image.Image.save, []

    def interrupted(image: Image.Image, *args: object) -> None:
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        save(image, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read_cuhk03(tmp_path)
    folder = tmp_path / "images_detected"
    assert len(list(folder.iterdir())) == 5, "no half-written file stays"
    assert not (tmp_path / "images_detected.json").exists()
    own = folder / cuhk03_names()[0]
    Image.new("RGB", (3, 3)).save(own)
    before = own.read_bytes()
    assert len(read_cuhk03(tmp_path).pictures) == len(cuhk03_names())
    assert own.read_bytes() == before


def test_extracted_pictures_of_torchreid_are_used(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk03/cuhk03_release/cuhk-03.mat")
    write_cuhk03_pictures(tmp_path / "cuhk03/images_detected")
    catalogue = read_cuhk03(tmp_path, split_seed=1)
    assert catalogue.pictures[0].path == "cuhk03/images_detected/1_001_1_01.png"
    assert pids(catalogue, "test") == {1002, 2002}, "the release's test sets"


def test_pictures_without_the_release_draw_their_test_identities(tmp_path: Path) -> None:
    write_cuhk03_pictures(tmp_path / "images_detected")
    drawn = [frozenset(pids(read_cuhk03(tmp_path, split_seed=seed), "test")) for seed in range(8)]
    assert {len(test) for test in drawn} == {sum(PERSONS) // 2}
    assert len(set(drawn)) > 1
    assert frozenset(pids(read_cuhk03(tmp_path, split_seed=0), "test")) == drawn[0]


def test_new_protocol(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk03/cuhk03_release/cuhk-03.mat")
    write_cuhk03_new_protocol(tmp_path / "cuhk03" / NEW, cuhk03_names())
    catalogue = read_cuhk03(tmp_path, protocol="new")
    assert pids(catalogue, "train") == {1001, 1002, 1003, 1004}
    assert pids(catalogue, "query") == pids(catalogue, "gallery") == {2001, 2002}
    queries = [Path(p.path).name for p in catalogue.pictures if p.subset == "query"]
    assert queries == [f"2_00{person}_{view}_0{n}.png" for person in (1, 2) for view, n in ((1, 1), (2, 6))]
    manifest = build_manifest(catalogue, DataConfig(val_fraction=0))
    assert Counter(row.split for row in manifest.entries) == {"train": 16, "query": 4, "gallery": 3}
    assert all(row.is_lr for row in manifest.split("query"))


def test_new_protocol_needs_its_file_and_its_pictures(tmp_path: Path) -> None:
    write_cuhk03_pictures(tmp_path / "images_detected")
    with pytest.raises(UserError, match=rf"{NEW}: no such file; copy it there from .* classic"):
        read_cuhk03(tmp_path, protocol="new")
    (tmp_path / NEW).write_bytes(b"nothing")
    with pytest.raises(UserError, match=rf"{NEW}: not the new protocol's file"):
        read_cuhk03(tmp_path, protocol="new")
    write_cuhk03_new_protocol(tmp_path / NEW, cuhk03_names())
    (tmp_path / "images_detected" / cuhk03_names()[2]).unlink()
    with pytest.raises(UserError, match=r"1 pictures .* are missing, 1_001_2_06\.png first"):
        read_cuhk03(tmp_path, protocol="new")


def test_missing_and_foreign_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: no such folder"):
        read_cuhk03(tmp_path / "missing")
    with pytest.raises(UserError, match=r"looked for cuhk-03\.mat and images_labeled in"):
        read_cuhk03(tmp_path, boxes="labeled")
    (tmp_path / "cuhk-03.mat").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cuhk-03\.mat: not the release's cuhk-03\.mat, or damaged"):
        read_cuhk03(tmp_path)
    (tmp_path / "cuhk-03.mat").unlink()
    write_cuhk03_pictures(tmp_path / "images_detected")
    (tmp_path / "images_detected" / "holiday.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"holiday\.png: not a CUHK03 file name"):
        read_cuhk03(tmp_path)


def test_other_matlab_file_is_named(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "cuhk-03.mat", "w") as file:
        file["other"] = 1
    with pytest.raises(UserError, match=r"cuhk-03\.mat: not the release's .* download it again"):
        read_cuhk03(tmp_path)


def test_broken_record_says_what_to_remove(tmp_path: Path) -> None:
    write_cuhk03_pictures(tmp_path / "images_detected")
    (tmp_path / "images_detected.json").write_text("{}")
    with pytest.raises(UserError, match=r"images_detected\.json: .*remove it to extract again"):
        read_cuhk03(tmp_path)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs h5py; run pip install 'intact_fast\[cuhk03\]'"):
        read_cuhk03(tmp_path)


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    (tmp_path / "images_detected").write_text("a file in the way")
    with pytest.raises(UserError, match=r"images_detected.* cannot be written"):
        read_cuhk03(tmp_path)


def test_deviation_from_the_official_size_is_told(tmp_path: Path) -> None:
    write_cuhk03_pictures(tmp_path / "images_detected")
    whole, test = read_cuhk03(tmp_path).deviations()
    assert whole.startswith("cuhk03 (train and test): 23 pictures of 6 identities here, 14,097 pictures of 1,467")
    assert test.startswith("cuhk03 (test): 3 identities here, 100 identities officially")
