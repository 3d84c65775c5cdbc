"""A folder of one's own: roles, identities, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_picture_folder
from data.folder_cases import counted, people, pids, refusal, roles, touch
from intact_fast.config.options import DataConfig
from intact_fast.data.datasets import read_folder
from intact_fast.data.datasets.folder_roles import role_of_word
from intact_fast.data.splits import obtain_manifest, splits_at_random
from intact_fast.errors import UserError

TRAIN, TEST = range(4), range(4, 8)


def test_names_and_roles(tmp_path: Path) -> None:
    touch(tmp_path, ("train/7_cam1.jpg", "query/anna_cam2_x_y.png", "gallery/anna_cam3_1.bmp"))
    catalogue = read_folder(tmp_path)
    assert {(p.path, p.camera, p.subset) for p in catalogue.pictures} == {
        ("train/7_cam1.jpg", 1, "train"),
        ("query/anna_cam2_x_y.png", 2, "query"),
        ("gallery/anna_cam3_1.bmp", 3, "gallery"),
    }
    assert pids(catalogue)["train/7_cam1.jpg"] == 0, "mixed names are numbered"
    assert catalogue.default_lr_camera is None, "fixed queries are all LR"


def test_a_folder_that_was_understood_keeps_its_split(tmp_path: Path) -> None:
    """The hashes are those of the version that knew four folder names in small letters."""
    former = {
        "flat": (people("", range(20)), "630de7cd802c3067"),
        "named": ([f"day{c}/p{pid}_cam{c}.jpg" for pid in range(12) for c in (1, 2)], "6829e8fccfb22f86"),
        "fixed": (
            people("train", range(20)) + people("query", (30, 31), (1,)) + people("gallery", (30, 31), (2,)),
            "8287e959452e6a34",
        ),
        "test": (people("train", range(20), (2, 3)) + people("test", range(30, 36), (2, 3)), "cb67b277dc919706"),
        "table": ([f"{i}.jpg" for i in range(16)], "b320eac981b4620e"),
    }
    lines = [f"{i}.jpg,person-{i // 2},{1 + i % 2},{'train' if i < 8 else 'test'}" for i in range(16)]
    for name, (files, first) in former.items():
        root = touch(tmp_path / name, files)
        if name == "table":
            (root / "pictures.csv").write_text("\n".join(["path,pid,camera,split", *lines, ""]))
        assert obtain_manifest(DataConfig(dataset="folder", root=root)).hash.startswith(first), name


@pytest.mark.parametrize(
    ("train", "query", "gallery"),
    [
        ("train", "test/query", "test/gallery"),
        ("train", "query/test", "gallery/test"),
        ("Train", "Query", "Gallery"),
        ("TRAIN", "PROBE", "GALLERY"),
        ("bounding_box_train", "query", "bounding_box_test"),
        ("training", "queries", "test"),
        ("train_images", "Test/Query_images", "Test/gallery-set"),
        ("data/crops/train", "data/crops/test/probe", "data/crops/test/gallery"),
        ("train/day1", "query/day1", "gallery/day2"),
        ("train", "probe", "gallery"),
        ("TrainImages", "QueryImages", "GalleryImages"),
    ],
)
def test_layouts_of_roles(tmp_path: Path, train: str, query: str, gallery: str) -> None:
    touch(tmp_path, people(train, TRAIN) + people(query, TEST, (1,)) + people(gallery, TEST, (2,)))
    catalogue = read_folder(tmp_path)
    assert counted(catalogue) == {
        **{(pid, camera, "train"): 1 for pid in TRAIN for camera in (1, 2)},
        **{(pid, 1, "query"): 1 for pid in TEST},
        **{(pid, 2, "gallery"): 1 for pid in TEST},
    }


def test_test_alone_is_queries_and_gallery(tmp_path: Path) -> None:
    touch(tmp_path, people("Train", TRAIN) + people("TEST", TEST))
    assert set(roles(read_folder(tmp_path)).values()) == {"train", "test"}
    manifest = obtain_manifest(DataConfig(dataset="folder", root=tmp_path))
    assert {(entry.camera, entry.pid) for entry in manifest.split("query")} == {(1, pid) for pid in TEST}
    assert {(entry.camera, entry.pid) for entry in manifest.split("gallery")} == {(2, pid) for pid in TEST}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test", "extra"), "extra (8 pictures) has no role beside test, train"),
        (("train", "test", "."), "the root itself (8 pictures) has no role beside"),
        (("train", "test", "train_all"), "train_all (8 pictures) has no role"),
        (("train", "query", "gallery", "multi-query"), "multi-query (8 pictures) has no role"),
        (("train/query", "train/gallery"), "in train/gallery the folder train says train and gallery below it says"),
        (("test/train", "test/query"), "the folder test says test and train below it says train"),
        (("query/gallery", "train"), "the folder query says query and gallery below it says gallery"),
        (("my_train", "my_test"), "my_test, my_train look like roles"),
        (("train2017", "val2017"), "train2017, val2017 look like roles"),
        (("MyTrainData", "MyTestData/q"), "MyTestData, MyTrainData look like roles"),
        (("traindata", "querydata", "gallerydata"), "gallerydata, querydata, traindata look like roles"),
        (("trainA", "testA"), "testA, trainA look like roles"),
        (("trn", "qry", "gal"), "gal, qry, trn look like roles"),
        (("entraînement", "galerie"), "entraînement, galerie look like roles"),
        (("训练", "查询", "图库"), "图库, 查询, 训练 look like roles"),
        (("train", "query", "gallery", "test"), "test pictures stand beside queries and a gallery"),
        (("train", "query"), "query pictures without gallery pictures; add a folder gallery"),
        (("train", "gallery"), "gallery pictures without query pictures; add a folder query"),
        (("train",), "only train pictures; add a folder test, or query and gallery"),
        (("train", "val"), "only train and val pictures"),
    ],
)
def test_roles_that_are_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for number, folder in enumerate(folders):
        touch(tmp_path, people("" if folder == "." else folder, range(4 * number, 4 * number + 4)))
    line = refusal(tmp_path)
    assert line.startswith("--data.root: ")
    assert message in line


def test_words_of_roles() -> None:
    assert role_of_word("trainval") == role_of_word("train_val") == "train"
    assert role_of_word("bounding_box_test") == "gallery"
    assert role_of_word("validation set") == "val"
    assert role_of_word("training_ground") is None
    assert role_of_word("train_gallery") is None
    assert role_of_word("day1") is None


def test_one_folder_that_only_resembles_a_role_is_a_place(tmp_path: Path) -> None:
    touch(tmp_path, people("training_ground", TRAIN) + people("street", TEST))
    catalogue = read_folder(tmp_path)
    assert set(roles(catalogue).values()) == {"all"}
    said = "no folder is named as a role (street, training_ground), so that people are halved at random"
    assert said in catalogue.notes


def test_validation_people_of_ones_own_are_held_out(tmp_path: Path) -> None:
    touch(tmp_path, people("train", range(20)) + people("val", (20, 21)) + people("test", range(30, 34)))
    manifest = obtain_manifest(DataConfig(dataset="folder", root=tmp_path))
    assert {(entry.pid, entry.camera) for entry in manifest.split("val_query")} == {(20, 1), (21, 1)}
    assert {(entry.pid, entry.camera) for entry in manifest.split("val_gallery")} == {(20, 2), (21, 2)}
    assert {entry.pid for entry in manifest.split("train")} == set(range(20)), "nobody else is held out"


def test_sides_of_validation_are_the_run_s(tmp_path: Path) -> None:
    touch(tmp_path, people("train", TRAIN) + people("test", TEST) + people("val/query", (8, 9), (1,)))
    touch(tmp_path, people("val/gallery", (8, 9), (2,)))
    manifest = obtain_manifest(DataConfig(dataset="folder", root=tmp_path))
    assert {entry.pid for entry in manifest.split("val_query")} == {8, 9}


def test_people_in_val_who_train_go_on_training(tmp_path: Path) -> None:
    touch(tmp_path, people("train", TRAIN, (1,)) + people("val", TRAIN, (2,)) + people("test", TEST))
    catalogue = read_folder(tmp_path)
    assert set(roles(catalogue).values()) == {"train", "test"}
    (warning,) = catalogue.warnings
    assert "4 people in val also train, so their 4 pictures in val (val/0000_cam2_x.jpg first) train, too" in warning


def test_validation_needs_two_people_of_two_cameras(tmp_path: Path) -> None:
    touch(tmp_path, people("train", TRAIN) + people("test", TEST) + people("val", (8, 9), (1,)))
    with pytest.raises(UserError, match="0 of the 2 people in val were seen by two cameras"):
        obtain_manifest(DataConfig(dataset="folder", root=tmp_path))


def test_how_a_folder_was_understood_is_told(tmp_path: Path) -> None:
    touch(tmp_path, people("Train", TRAIN) + people("test/query", TEST, (1,)) + people("test/gallery", TEST, (2, 3)))
    touch(tmp_path, ("notes.txt", "Train/._0001_cam1_x.jpg", "clip.mpg", "Train/-1_cam3_x.jpg"))
    said: list[str] = []
    obtain_manifest(DataConfig(dataset="folder", root=tmp_path), explain=said.append)
    assert said[:-1] == [
        "folder: identity and camera by names like 0001_cam1_x.jpg",
        "folder: roles by the folders: train is Train; query is test/query; gallery is test/gallery",
        "folder: left out 1 junk pictures (identity -1)",
        "folder: left out 1 hidden files (._0001_cam1_x.jpg); 2 files that are no pictures (.mpg, .txt)",
    ]
    assert said[-1].startswith(
        "folder: training: 4 people, 8 pictures, 2 cameras (1, 2); queries: 4 people, 4 pictures, 1 camera (1); "
        "gallery: 4 people, 8 pictures, 2 cameras (2, 3)"
    )
    halved = touch(tmp_path / "halved", people("", range(8)))
    said.clear()
    obtain_manifest(DataConfig(dataset="folder", root=halved), explain=said.append)
    assert "folder: no folder is named as a role, so that people are halved at random" in said


def test_a_manifest_is_told_as_well(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", people("", range(8)))
    config = DataConfig(dataset="folder", root=root)
    obtain_manifest(config).save(tmp_path / "m.jsonl")
    said: list[str] = []
    obtain_manifest(DataConfig(dataset="folder", root=root, manifest=tmp_path / "m.jsonl"), explain=said.append)
    (line,) = said
    assert line.startswith("folder: training: 4 people, 8 pictures, 2 cameras (1, 2); queries:")


# junk and distractors


def test_junk_never_takes_part(tmp_path: Path) -> None:
    touch(tmp_path, [*people("", range(1, 5)), "-1_cam1_x.jpg", "-1_cam2_x.jpg"])
    catalogue = read_folder(tmp_path)
    assert set(pids(catalogue).values()) == {1, 2, 3, 4}, "the others keep their numbers"
    assert "left out 2 junk pictures (identity -1)" in catalogue.notes
    assert not catalogue.warnings


def test_identity_0_beside_junk_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, [*people("", range(4)), "-1_cam1_x.jpg"])
    catalogue = read_folder(tmp_path)
    assert 0 in pids(catalogue).values()
    assert "2 pictures of identity 0 are read as one person's" in catalogue.warnings[0]


def test_market_s_naming_has_junk_and_distractors(tmp_path: Path) -> None:
    train = [f"train/{pid:04d}_c{c}s1_000151_00.jpg" for pid in (2, 7) for c in (1, 3)]
    query = [f"query/{pid:04d}_c1s1_000151_00.jpg" for pid in (1, 3)]
    gallery = [f"gallery/{pid:04d}_c2s1_000151_00.jpg" for pid in (0, 1, 3)]
    touch(tmp_path, [*train, *query, *gallery, "gallery/-1_c2s1_000151_00.jpg"])
    catalogue = read_folder(tmp_path)
    assert pids(catalogue)["gallery/0000_c2s1_000151_00.jpg"] == catalogue.distractor_pid == 0
    assert set(pids(catalogue).values()) == {0, 1, 2, 3, 7}
    assert "left out 1 junk pictures (identity -1)" in catalogue.notes
    assert "1 pictures of identity 0 are distractors of the gallery, as in Market-1501" in catalogue.notes
    assert not catalogue.warnings


def test_distractors_neither_train_nor_ask(tmp_path: Path) -> None:
    names = [f"{pid:04d}_c{c}s1_000151_00.jpg" for pid in range(9) for c in (1, 2)]
    touch(tmp_path / "flat", names)
    manifest = obtain_manifest(DataConfig(dataset="folder", root=tmp_path / "flat"))
    assert {entry.split for entry in manifest.entries if entry.pid == 0} == {"gallery"}
    touch(tmp_path / "roles", [*(f"train/{name}" for name in names)])
    touch(tmp_path / "roles", [f"test/{pid:04d}_c{c}s1_000151_00.jpg" for pid in (10, 11) for c in (1, 2)])
    catalogue = read_folder(tmp_path / "roles")
    assert 0 not in pids(catalogue).values()
    assert "left out 2 pictures of identity 0 that train or are queries" in catalogue.warnings[0]


# identities


@pytest.mark.parametrize(
    "spellings", [("1", "0001"), ("1", "1.0"), ("Zoë", "Zoe\u0308"), ("1", "\uff11"), ("1", "1,0")]
)
def test_spellings_of_one_person_are_joined(tmp_path: Path, spellings: tuple[str, str]) -> None:
    one, other = spellings
    touch(tmp_path, [f"{one}_cam1_x.jpg", f"{other}_cam2_x.jpg", "2_cam1_x.jpg", "2_cam2_x.jpg"])
    catalogue = read_folder(tmp_path)
    assert len(set(pids(catalogue).values())) == 2
    assert any("1 people are spelled in several ways, each read as one person: " in note for note in catalogue.notes)


@pytest.mark.parametrize(
    "spellings",
    [
        *(
            ("Anna", "anna"),
            ("person-7", "person-07"),
            ("person 7", "person  7"),
            ("A1", "\uff211"),
            ("Straße", "STRASSE"),
        ),
        *(("anna", "anna\u200b"), ("7", "'7"), ("7", '="0007"'), ("1000", "1,000"), ("1000", "1e3"), ("16", "0x10")),
    ],
)
def test_spellings_that_may_be_two_people_are_named(tmp_path: Path, spellings: tuple[str, str]) -> None:
    one, other = sorted(spellings)
    touch(tmp_path, [f"{one}_cam1_x.jpg", f"{other}_cam2_x.jpg", "2_cam1_x.jpg"])
    assert f"identity {other!r} is almost {one!r}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("pid", "message"),
    [
        ("nan", "no identity (nan)"),
        ("None", "no identity (None)"),
        ("#REF!", "no identity (#REF!)"),
        ("unknown", "no identity (unknown)"),
        ("-", "no identity (-)"),
        ("-5", "identity -5 is negative"),
        ("9007199254740993.0", "has lost digits"),
        ("1.2e+18", "has lost digits"),
    ],
)
def test_what_is_no_identity(tmp_path: Path, pid: str, message: str) -> None:
    touch(tmp_path, [f"{pid}_cam1_x.jpg", "2_cam1_x.jpg"])
    assert message in refusal(tmp_path)
    assert f"{pid}_cam1_x.jpg" in refusal(tmp_path)


def test_numbers_stay_and_those_beyond_63_bits_are_given_anew(tmp_path: Path) -> None:
    last = 2**63 - 1
    touch(tmp_path / "small", [f"{pid}_cam1_x.jpg" for pid in (last, 10, 9)])
    assert set(pids(read_folder(tmp_path / "small")).values()) == {9, 10, last}
    touch(tmp_path / "large", [f"{pid}_cam1_x.jpg" for pid in (last + 1, 2**70, 10, 9)])
    catalogue = read_folder(tmp_path / "large")
    assert [pids(catalogue)[f"{pid}_cam1_x.jpg"] for pid in (9, 10, last + 1, 2**70)] == [0, 1, 2, 3]
    assert any("identities reach 2^63" in note for note in catalogue.notes)


def test_names_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path, [f"{pid}_cam1_x.jpg" for pid in ("b", "a", "10", "9")])
    catalogue = read_folder(tmp_path)
    assert [pids(catalogue)[f"{pid}_cam1_x.jpg"] for pid in ("10", "9", "a", "b")] == [0, 1, 2, 3]
    assert "identities are names, numbered in sorted order from 0 to 3" in catalogue.notes


# what is not there


def test_empty_folders(tmp_path: Path) -> None:
    assert "no picture named like 0001_cam1_x.jpg and no pictures.csv" in refusal(tmp_path)
    touch(tmp_path, ("labels.csv", "a.mpg"))
    assert "(labels.csv has another name; left out 2 files that are no pictures (.csv, .mpg))" in refusal(tmp_path)
    touch(tmp_path / "junk", ("-1_cam1_x.jpg",))
    assert "add the table (left out 1 junk pictures (identity -1))" in refusal(tmp_path / "junk")
    assert "no such folder" in refusal(tmp_path / "missing")


def test_linked_people_belong_to_their_roles(tmp_path: Path) -> None:
    touch(tmp_path / "store", people("a", TRAIN) + people("b", TEST))
    root = tmp_path / "in"
    for role, source in (("train", "a"), ("test", "b")):
        root.mkdir(exist_ok=True)
        (root / role).symlink_to(tmp_path / "store" / source)
    assert set(roles(read_folder(root)).values()) == {"train", "test"}
    assert not splits_at_random(DataConfig(dataset="folder", root=root))


def test_pictures_of_all_formats_take_part(tmp_path: Path) -> None:
    root = write_picture_folder(tmp_path, identities=4)
    touch(root, [f"0000_cam2_x.{suffix}" for suffix in ("webp", "tif", "jfif", "JPG")])
    assert {Path(path).suffix for path in roles(read_folder(root))} == {".jpg", ".webp", ".tif", ".jfif", ".JPG"}
