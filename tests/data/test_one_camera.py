"""Splits of people whom one camera alone has seen, refused or halved."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from conftest import write_picture
from data.folder_cases import people, touch
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Picture, Subset
from intact_fast.data.manifest import Entry, Header, Manifest, Split
from intact_fast.data.one_camera import draw_queries
from intact_fast.data.splits import build_manifest, obtain_manifest
from intact_fast.errors import UserError


def one_camera(identities: int = 20, pictures: int = 5, camera: int = 3, subset: Subset = "all") -> Catalogue:
    rows = (
        Picture(f"{pid}_{number}.jpg", pid, camera, subset) for pid in range(identities) for number in range(pictures)
    )
    return Catalogue("folder", tuple(rows), default_lr_camera=camera)


def counts(manifest: Manifest) -> Counter[str]:
    return Counter(entry.split for entry in manifest.entries)


def test_one_camera_is_refused_where_its_matches_do_not_count() -> None:
    with pytest.raises(
        UserError, match=r"all 50 test pictures of 10 people are of one camera \(3\).*same-camera keep$"
    ):
        build_manifest(one_camera(), DataConfig())


def test_half_of_each_persons_pictures_are_queries() -> None:
    manifest = build_manifest(one_camera(), DataConfig(val_fraction=0.2), "keep")
    assert counts(manifest) == {"train": 40, "val_query": 4, "val_gallery": 6, "query": 20, "gallery": 30}
    for split, number in (("query", 2), ("gallery", 3), ("val_query", 2)):
        assert set(Counter(entry.pid for entry in manifest.split(split)).values()) == {number}  # type: ignore[arg-type]
    assert {entry.r for entry in manifest.split("query")} == {2, 3, 4}
    again = build_manifest(one_camera(), DataConfig(val_fraction=0.2), "keep")
    assert again.hash == manifest.hash
    others = build_manifest(one_camera(), DataConfig(val_fraction=0.2, split_seed=1), "keep")
    assert {e.path for e in others.split("query")} != {e.path for e in manifest.split("query")}


def test_fixed_roles_stay_what_they_are() -> None:
    rows = [("train", 0), ("train", 1), ("query", 2), ("gallery", 2), ("gallery", 3)]
    pictures = tuple(Picture(f"{role}{pid}_{n}", pid, 1, role) for role, pid in rows for n in (0, 1))  # type: ignore[arg-type]
    manifest = build_manifest(Catalogue("folder", pictures, None), DataConfig(), "keep")
    assert counts(manifest) == {"train": 4, "query": 2, "gallery": 4}


def test_people_of_test_folders_are_halved_on_their_side() -> None:
    """Persons 0 and 1 train in camera 1 and are tested in camera 2."""
    pictures = [Picture(f"a{pid}_{n}", pid, 1, "train") for pid in (0, 1) for n in (0, 1)]
    pictures += [Picture(f"b{pid}_{n}", pid, 2, "test") for pid in (0, 1) for n in range(4)]
    manifest = build_manifest(Catalogue("folder", tuple(pictures), 2), DataConfig(), "keep")
    assert counts(manifest) == {"train": 4, "query": 4, "gallery": 4}


def test_people_of_several_cameras_keep_the_lr_camera() -> None:
    """A data set without people of one camera has the same split under both rules."""
    pictures = tuple(Picture(f"{pid}_{c}_{n}", pid, c, "all") for pid in range(20) for c in (1, 2) for n in (0, 1))
    catalogue = Catalogue("folder", pictures, default_lr_camera=1)
    assert build_manifest(catalogue, DataConfig()).hash == build_manifest(catalogue, DataConfig(), "keep").hash


def test_who_has_queries_of_one_camera() -> None:
    catalogue = one_camera(2, pictures=1)
    assert not any(draw_queries(catalogue, "auto", 0).values()), "one picture has no other to match"
    catalogue = one_camera(2, pictures=4)
    assert sum(draw_queries(catalogue, "auto", 0).values()) == 4
    assert sum(draw_queries(catalogue, "3", 0).values()) == 4
    assert draw_queries(catalogue, "1", 0) == {}, "another camera was named"
    more = draw_queries(one_camera(9, pictures=4), "auto", 0)
    assert {path: more[path] for path in draw_queries(catalogue, "auto", 0)} == draw_queries(catalogue, "auto", 0)


def test_single_pictures_say_what_a_query_needs() -> None:
    with pytest.raises(UserError, match="no query picture among 10 test pictures"):
        build_manifest(one_camera(pictures=1), DataConfig(), "keep")


def test_what_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    """Roles let a split be made; its queries have no match in another camera, or some have."""
    names = [*people("train", range(4)), *people("query", (4, 5), (1,)), *people("gallery", (4, 5), (1,))]
    root = touch(tmp_path, [name.replace("x.jpg", f"{i}.jpg") for i, name in enumerate(names)])
    for i, path in enumerate(sorted(root.rglob("*.jpg"))):
        write_picture(path, i)
    config = DataConfig(dataset="folder", root=root)
    explained: list[str] = []
    with pytest.raises(UserError, match="no query has a match in another camera"):
        obtain_manifest(config, explain=explained.append)
    assert explained[-1].endswith("queries with a match in another camera: 0, without: 2")
    obtain_manifest(config, same_camera="keep").save(tmp_path / "split.jsonl")
    given = DataConfig(dataset="folder", root=root, manifest=tmp_path / "split.jsonl")
    with pytest.raises(UserError, match=r"--evaluation\.same-camera keep"):
        obtain_manifest(given)
    write_picture(root / "gallery" / "0005_cam2_x.jpg", 99)
    warnings: list[str] = []
    obtain_manifest(config, warn=warnings.append)
    assert warnings[0].startswith("folder: 1 of 2 queries have no match in another camera in the gallery")


def test_held_out_people_without_a_match_are_told(tmp_path: Path) -> None:
    rows: list[tuple[Split, int, int]] = [("train", 0, 1), ("train", 1, 1), ("val_query", 2, 1), ("val_gallery", 2, 1)]
    rows += [("query", 8, 1), ("gallery", 8, 2), ("gallery", 9, 2)]
    entries = (
        Entry(f"{i}.jpg", pid, camera, split, split.endswith("query"), None)
        for i, (split, pid, camera) in enumerate(rows)
    )
    Manifest(Header("folder", 0, "bilinear", None, None, None), tuple(entries)).save(tmp_path / "split.jsonl")
    warnings: list[str] = []
    config = DataConfig(dataset="folder", manifest=tmp_path / "split.jsonl")
    obtain_manifest(config, warn=warnings.append)
    (warning,) = warnings
    assert "none of the 1 queries of held-out training people has a match" in warning
    obtain_manifest(config, warn=warnings.append, same_camera="keep")
    assert len(warnings) == 1
