from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import write_picture
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.manifest import Manifest
from intact_fast.data.splits import build_manifest, obtain_manifest, splits_at_random
from intact_fast.errors import UserError


def two_cameras(identities: int = 20, subset: str = "all") -> Catalogue:
    pictures = tuple(
        Picture(f"{pid}_{camera}.jpg", pid, camera, subset)  # type: ignore[arg-type]
        for pid in range(identities)
        for camera in (1, 2)
    )
    return Catalogue("viper", pictures, default_lr_camera=1)


def test_random_halves_do_not_overlap_and_are_repeatable() -> None:
    manifest = build_manifest(two_cameras(), DataConfig(val_fraction=0.2))
    train = {entry.pid for entry in manifest.split("train", "val_query", "val_gallery")}
    test = {entry.pid for entry in manifest.split("query", "gallery")}
    assert len(train) == len(test) == 10
    assert not train & test
    assert len({entry.pid for entry in manifest.split("val_query")}) == 2
    assert build_manifest(two_cameras(), DataConfig(val_fraction=0.2)).hash == manifest.hash
    assert build_manifest(two_cameras(), DataConfig(val_fraction=0.2, split_seed=1)).hash != manifest.hash


def test_lr_camera_makes_the_queries_with_one_r_each() -> None:
    catalogue = two_cameras(200)
    manifest = build_manifest(catalogue, DataConfig(lr_camera="2", factors=(2, 3, 4)))
    assert {entry.camera for entry in manifest.split("query")} == {2}
    assert {entry.camera for entry in manifest.split("gallery")} == {1}
    assert {entry.r for entry in manifest.split("query", "val_query")} == {2, 3, 4}
    assert all(entry.is_lr == (entry.r is not None) for entry in manifest.entries)
    assert all(not entry.is_lr for entry in manifest.split("train", "gallery", "val_gallery"))


def test_r_of_the_queries_does_not_depend_on_validation() -> None:
    splits = [build_manifest(two_cameras(200), DataConfig(val_fraction=f)).split("query") for f in (0.0, 0.3)]
    assert splits[0] == splits[1]


def test_labels_cover_validation_identities_in_order_of_pid() -> None:
    manifest = build_manifest(two_cameras(), DataConfig(val_fraction=0.5))
    pids = sorted({entry.pid for entry in manifest.split("train", "val_query", "val_gallery")})
    assert manifest.labels == {pid: i for i, pid in enumerate(pids)}


def test_fixed_queries_in_several_cameras() -> None:
    pictures = [Picture(f"t{pid}_{c}_{n}", pid, c, "train") for pid in range(10) for c in (1, 2, 3) for n in (0, 1)]
    pictures += [Picture(f"q{c}", 50, c, "query") for c in (1, 2)]
    pictures += [Picture(f"g{pid}", pid, 3, "gallery") for pid in (0, 50)]
    catalogue = Catalogue("market1501", tuple(pictures), default_lr_camera=None, distractor_pid=0)
    manifest = build_manifest(catalogue, DataConfig(val_fraction=0.2))
    assert [entry.path for entry in manifest.split("query")] == ["q1", "q2"]
    assert manifest.header.distractor_pid == 0
    held_out = {entry.pid for entry in manifest.split("val_query")}
    assert len(held_out) == 2
    assert len(manifest.split("val_query")) == 2 * 2, "one of each camera but one"
    assert len(manifest.split("val_gallery")) == 2 * 4
    one_camera = build_manifest(catalogue, DataConfig(val_fraction=0.2, lr_camera="2"))
    assert [entry.path for entry in one_camera.split("query")] == ["q2"]


@pytest.mark.parametrize("camera", ["3", "left"])
def test_absent_lr_camera(camera: str) -> None:
    with pytest.raises(UserError, match=rf"--data.lr-camera {camera}: no query picture .* one of 1, 2"):
        build_manifest(two_cameras(), DataConfig(lr_camera=camera))


def test_too_few_identities() -> None:
    with pytest.raises(UserError, match="1 identities in the training split; at least 2"):
        build_manifest(two_cameras(2), DataConfig())


def test_saved_manifest_is_the_same_and_complete(tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    config = DataConfig(dataset="folder", root=picture_folder())
    manifest = obtain_manifest(config)
    manifest.save(tmp_path / "split.jsonl")
    loaded = obtain_manifest(replace(config, manifest=tmp_path / "split.jsonl"))
    assert loaded == manifest
    assert loaded.hash == manifest.hash


def test_changed_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    build_manifest(two_cameras(), DataConfig()).save(path)
    path.write_text(path.read_text().replace('"r": 2', '"r": 4', 1))
    with pytest.raises(UserError, match=r"split\.jsonl: its hash does not match"):
        Manifest.load(path)


def test_blind_queries_hold_their_corruption(tmp_path: Path) -> None:
    config = DataConfig(val_fraction=0.3, degradation="blind")
    manifest = build_manifest(two_cameras(60), config)
    asked = manifest.split("query", "val_query")
    assert all((entry.corruption is None) == (entry not in asked) for entry in manifest.entries)
    assert len({entry.corruption for entry in asked}) == len(asked)
    assert all(2 <= entry.corruption.factor <= 4 for entry in asked if entry.corruption)
    manifest.save(tmp_path / "split.jsonl")
    assert Manifest.load(tmp_path / "split.jsonl") == manifest
    assert build_manifest(two_cameras(60), config).hash == manifest.hash
    assert build_manifest(two_cameras(60), replace(config, split_seed=1)).hash != manifest.hash


def test_a_corruption_changes_nothing_else() -> None:
    plain = build_manifest(two_cameras(60), DataConfig(val_fraction=0.3))
    manifest = build_manifest(two_cameras(60), DataConfig(val_fraction=0.3, degradation="blind"))
    assert [replace(entry, corruption=None) for entry in manifest.entries] == list(plain.entries)
    assert Manifest(manifest.header, plain.entries).hash == plain.hash != manifest.hash
    without = build_manifest(two_cameras(60), DataConfig(val_fraction=0, degradation="blind"))
    assert without.split("query") == manifest.split("query"), "test queries do not depend on validation"


def test_an_entry_without_a_corruption_is_written_as_before(tmp_path: Path) -> None:
    build_manifest(two_cameras(), DataConfig()).save(tmp_path / "split.jsonl")
    assert "corruption" not in (tmp_path / "split.jsonl").read_text()


def test_a_changed_corruption_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    build_manifest(two_cameras(), DataConfig(degradation="blind")).save(path)
    path.write_text(path.read_text().replace('"factor": 2', '"factor": 3', 1))
    with pytest.raises(UserError, match="its hash does not match"):
        Manifest.load(path)


def test_natively_low_queries_are_not_corrupted() -> None:
    native = Catalogue("caviar", two_cameras().pictures, default_lr_camera=1, natively_lr=True)
    manifest = build_manifest(native, DataConfig(degradation="blind"))
    assert not any(entry.corruption for entry in manifest.entries)


def test_a_manifest_without_corrupted_queries_is_told(tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    config = DataConfig(dataset="folder", root=picture_folder())
    for degradation, said in (("downsample", 1), ("blind", 0)):
        path = tmp_path / f"{degradation}.jsonl"
        obtain_manifest(replace(config, degradation=degradation)).save(path)
        for asked in ("downsample", "blind"):
            warnings: list[str] = []
            obtain_manifest(replace(config, manifest=path, degradation=asked), warn=warnings.append)
            found = [text for text in warnings if "has no corrupted queries" in text]
            assert len(found) == (said if asked == "blind" else 0)


@pytest.mark.parametrize("text", ["", "nonsense", '{"format": 1}\n', '{"format":1,"hash":"x","dataset":"viper"}\n'])
def test_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"split\.jsonl: not a split manifest"):
        Manifest.load(path)
    with pytest.raises(UserError, match="no such file"):
        Manifest.load(tmp_path / "none.jsonl")


def test_a_manifest_of_another_data_set_is_named(tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    config = DataConfig(dataset="folder", root=picture_folder())
    obtain_manifest(config).save(tmp_path / "split.jsonl")
    with pytest.raises(UserError, match=r"--data\.dataset viper: the manifest .* is of folder; give --data"):
        obtain_manifest(replace(config, dataset="viper", manifest=tmp_path / "split.jsonl"))


def test_people_who_train_and_are_tested_are_told(tmp_path: Path) -> None:
    for role, pids in (("train", (1, 2, 3)), ("query", (3, 4)), ("gallery", (3, 4))):
        for pid in pids:
            for camera in (1, 2):
                write_picture(tmp_path / role / f"{pid}_cam{camera}.jpg", ord(role[0]) + 1000 * pid)
    warnings: list[str] = []
    config = DataConfig(dataset="folder", root=tmp_path)
    obtain_manifest(config, warn=warnings.append)
    (warning,) = warnings
    assert (
        "1 identities are in training and in test pictures (train/3_cam1.jpg and gallery/3_cam1.jpg first)" in warning
    )
    assert not splits_at_random(config)


def test_what_is_split_at_random(picture_folder: Callable[..., Path]) -> None:
    assert splits_at_random(DataConfig(dataset="folder", root=picture_folder()))
    assert splits_at_random(DataConfig(dataset="cuhk03"))
    assert not splits_at_random(DataConfig(dataset="cuhk03", cuhk03_protocol="new"))
    assert not splits_at_random(DataConfig(dataset="market1501"))
    assert not splits_at_random(DataConfig(dataset="viper", manifest=Path("split.jsonl")))


def test_an_lr_camera_for_each_identity() -> None:
    manifest = build_manifest(two_cameras(200), DataConfig(val_fraction=0.2, lr_camera="random"))
    for queries, gallery in (("query", "gallery"), ("val_query", "val_gallery")):
        asked = {entry.pid: entry.camera for entry in manifest.split(queries)}
        kept = {entry.pid: entry.camera for entry in manifest.split(gallery)}
        assert asked.keys() == kept.keys()
        assert all({asked[pid], kept[pid]} == {1, 2} for pid in asked)
        assert set(asked.values()) == {1, 2}
    assert manifest.header.lr_camera == "random"
    again = build_manifest(two_cameras(200), DataConfig(val_fraction=0.2, lr_camera="random"))
    assert again.hash == manifest.hash
    # the identities of a seed and their r do not depend on it
    named = build_manifest(two_cameras(200), DataConfig(val_fraction=0.2))
    assert {entry.pid for entry in named.split("query")} == {entry.pid for entry in manifest.split("query")}


def test_a_random_lr_camera_selects_among_fixed_queries() -> None:
    pictures = [
        *(Picture(f"t{pid}_{c}.jpg", pid, c, "train") for pid in range(4) for c in (1, 2)),
        *(Picture(f"q{pid}_{c}.jpg", pid, c, "query") for pid in range(10, 30) for c in (1, 2, 3)),
        *(Picture(f"g{pid}_{c}.jpg", pid, c, "gallery") for pid in range(10, 30) for c in (4, 5)),
    ]
    catalogue = Catalogue("market1501", tuple(pictures), default_lr_camera=None)
    manifest = build_manifest(catalogue, DataConfig(val_fraction=0, lr_camera="random"))
    cameras = {entry.pid: entry.camera for entry in manifest.split("query")}
    assert len(cameras) == len(manifest.split("query")) == 20
    assert set(cameras.values()) == {1, 2, 3}
    native = Catalogue("caviar", two_cameras().pictures, default_lr_camera=1, natively_lr=True)
    with pytest.raises(UserError, match="are natively low-resolution"):
        build_manifest(native, DataConfig(lr_camera="random"))
