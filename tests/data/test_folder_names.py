"""Identity and camera from names: known forms, folders of people, a pattern of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.folder_cases import counted, people, pids, refusal, roles, touch
from intact_fast.config.checks import check_data
from intact_fast.config.options import DataConfig
from intact_fast.data.datasets import read_folder
from intact_fast.data.splits import read_catalogue
from intact_fast.errors import UserError

EXPECTED = {(pid, camera, "all"): 1 for pid in (3, 12) for camera in (1, 12)}


@pytest.mark.parametrize(
    "form",
    [
        "{pid}_cam{camera}_x.jpg",
        "{pid:05d}_CAM{camera:02d}.jpg",
        "{pid}_camera{camera}_x.jpg",
        "{pid}_cam_{camera}_x.jpg",
        "{pid}_c{camera}_000001.jpg",
        "{pid:05d}_c{camera}s1_000151_00.jpg",
        "{pid:03d}_c{camera:03d}_00016450_0.jpg",
        "{pid:04d}_c{camera}_f0044158.jpg",
        "{pid:04d}/cam{camera}_x.jpg",
        "{pid}/c{camera}_x.jpg",
        "{pid}/c{camera}s1_000151.jpg",
        "{pid}/frame_000151_cam{camera}.jpg",
        "{pid}/img-c{camera}-7.jpg",
        "{pid}/cam{camera}/x.jpg",
        "{pid}/Camera_{camera}/x.jpg",
        "cam{camera}/{pid}/x.jpg",
        "view{camera}/{pid}/x.jpg",
    ],
)
def test_forms_of_names(tmp_path: Path, form: str) -> None:
    touch(tmp_path, [form.format(pid=pid, camera=camera) for pid in (3, 12) for camera in (1, 12)])
    assert counted(read_folder(tmp_path)) == EXPECTED


def test_a_folder_for_each_person(tmp_path: Path) -> None:
    touch(tmp_path, [f"person_{pid}/cam{1 + k % 2}_{k}.jpg" for pid in range(6) for k in range(4)])
    catalogue = read_folder(tmp_path)
    assert set(pids(catalogue).values()) == set(range(6))
    assert {p.camera for p in catalogue.pictures} == {1, 2}
    assert catalogue.notes[0] == "identity and camera by names like 0001/cam1_x.jpg"


def test_a_folder_for_each_person_within_roles(tmp_path: Path) -> None:
    touch(tmp_path, [f"train/{pid:04d}/cam{c}_x.jpg" for pid in (1, 2) for c in (1, 2)])
    touch(
        tmp_path, [f"test/{side}/{pid:04d}/c{c}_x.jpg" for pid in (3, 4) for c, side in ((1, "query"), (2, "gallery"))]
    )
    touch(tmp_path, ["test/gallery/-1/c2_x.jpg"])
    catalogue = read_folder(tmp_path)
    assert pids(catalogue)["train/0002/cam1_x.jpg"] == 2
    assert roles(catalogue)["test/query/0003/c1_x.jpg"] == "query"
    assert len(catalogue.pictures) == 8, "junk is left out"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("portrait.jpg",), "portrait.jpg: expected a name like 0001_cam1_x.jpg, 0001_c1s1_000151_00.jpg, or cam1_x"),
        (("1_cam1_x.jpg", "2_cam1_x.jpg", "portrait.jpg"), "expected a name like 0001_cam1_x.jpg (1 of 3 pictures"),
        (("1_c1_x.jpg", "2_c1_x.jpg", "1_cam1_x.jpg"), "1_cam1_x.jpg: expected a name like 0001_c1s1_000151_00.jpg"),
        (("person_1/a.jpg", "b.jpg"), "b.jpg: expected a name like"),
        (("person_1/a.jpg", "person_2/cam1_b.jpg"), "person_1/a.jpg: expected a name like 0001/cam1_x.jpg"),
        (("person_1/cam1_cam2.jpg",), "person_1/cam1_cam2.jpg: expected a name like"),
        (("cam1_x.jpg", "cam2_x.jpg"), "cam1_x.jpg: expected a name like"),
        (("person_3/0007_cam1.jpg", "person_4/0007_cam1.jpg"), "the folder says person_3, the name says identity 0007"),
        (("1_cam99999999999_x.jpg",), "camera '99999999999'; give a whole number below 2147483648"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    touch(tmp_path, names)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("pattern", [None, r"person_(?P<pid>\d+)/", r"(?P<pid>\d+)/"])
def test_people_without_camera_ids(tmp_path: Path, pattern: str | None) -> None:
    touch(tmp_path, [f"{role}/person_{pid}/{n}.jpg" for role, pid in (("train", 1), ("test", 2)) for n in "ab"])
    catalogue = read_folder(tmp_path, pattern)
    assert {(p.path[-7], p.pid, p.camera, p.subset) for p in catalogue.pictures} == {
        ("1", 0 if pattern is None else 1, 0, "train"),
        ("2", 1 if pattern is None else 2, 0, "test"),
    }
    assert catalogue.notes[0].endswith("no camera ids, so that all pictures count as camera 0")


def test_numbered_folders_beside_other_identities_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, [f"{pid}/{frame}_cam{c}.jpg" for pid in (1, 2) for c in (1, 2) for frame in (7, 8)])
    catalogue = read_folder(tmp_path)
    assert set(pids(catalogue).values()) == {7, 8}, "as ever: folders may be days"
    assert "the folders 1, 2 hold pictures whose names give other identities" in catalogue.warnings[0]
    found = read_folder(tmp_path, "(?P<pid>[0-9]+)/.*cam(?P<camera>[0-9]+)")
    assert set(pids(found).values()) == {1, 2}


def test_person_folders_that_agree_with_the_names(tmp_path: Path) -> None:
    touch(tmp_path, [f"person_{pid}/{pid:04d}_cam{c}_x.jpg" for pid in (1, 2) for c in (1, 2)])
    assert set(pids(read_folder(tmp_path)).values()) == {1, 2}


# --data.name-pattern


def read(root: Path, pattern: str) -> dict[tuple[int, int, str], int]:
    config = DataConfig(dataset="folder", root=root, name_pattern=pattern)
    check_data(config)
    return dict(counted(read_catalogue(config)))


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("view{camera}-id{pid}-x.jpg", r"view(?P<camera>\d+)-id(?P<pid>\d+)"),
        ("site/{pid}/v{camera}.jpg", r"(?P<pid>\d+)/v(?P<camera>\d+)"),
        ("day7_1/{pid}x{camera}.jpg", r"(?P<pid>\d+)x(?P<camera>\d+)"),
        ("{pid}_cam9_{camera}.jpg", r"^(?P<pid>[^_]+)_cam9_(?P<camera>\d+)\.jpg$"),
    ],
)
def test_a_pattern_reads_any_names(tmp_path: Path, form: str, pattern: str) -> None:
    touch(tmp_path, [form.format(pid=pid, camera=camera) for pid in (3, 12) for camera in (1, 12)])
    assert read(tmp_path, pattern) == EXPECTED


def test_a_pattern_gives_roles_where_it_has_the_group(tmp_path: Path) -> None:
    names = [f"Train-{pid}-{c}.jpg" for pid in (1, 2) for c in (1, 2)]
    names += [f"{side}-{pid}-{c}.jpg" for pid in (3, 4) for c, side in ((1, "probe"), (2, "gallery"))]
    touch(tmp_path, names)
    catalogue = read_folder(tmp_path, r"(?P<role>\w+)-(?P<pid>\d+)-(?P<camera>\d+)")
    assert roles(catalogue)["probe-3-1.jpg"] == "query"
    assert "roles by --data.name-pattern" in catalogue.notes
    touch(tmp_path, ("exam-5-1.jpg",))
    line = refusal(tmp_path, r"(?P<role>\w+)-(?P<pid>\d+)-(?P<camera>\d+)")
    assert "exam-5-1.jpg: role 'exam' by --data.name-pattern" in line


def test_without_the_group_folders_give_roles(tmp_path: Path) -> None:
    touch(
        tmp_path,
        [
            f"{role}/{pid}x{c}.jpg"
            for role, first in (("Train", 1), ("test", 5))
            for pid in (first, first + 1)
            for c in (1, 2)
        ],
    )
    assert set(roles(read_folder(tmp_path, r"(?P<pid>\d+)x(?P<camera>\d+)")).values()) == {"train", "test"}


def test_a_pattern_is_tried_on_the_first_files_and_shown(tmp_path: Path) -> None:
    touch(tmp_path, [f"{pid}x{c}.jpg" for pid in range(1, 9) for c in (1, 2)])
    pattern = r"(?P<pid>\d+)x(?P<camera>\d+)"
    assert read_folder(tmp_path, pattern).notes[:5] == (
        f"identity and camera by --data.name-pattern {pattern}",
        "no folder is named as a role, so that people are halved at random",
        "1x1.jpg: identity 1, camera 1",
        "1x2.jpg: identity 1, camera 2",
        "2x1.jpg: identity 2, camera 1",
    )


def test_a_file_beside_the_pattern_is_named(tmp_path: Path) -> None:
    touch(tmp_path, ("1x1.jpg", "1x2.jpg", "other.jpg"))
    line = refusal(tmp_path, r"(?P<pid>\d+)x(?P<camera>\d+)")
    assert "other.jpg: does not match --data.name-pattern '(?P<pid>" in line
    assert "(1 of 3 pictures do not follow it)" in line
    assert "camera 'x'; give a whole number" in refusal(tmp_path, r"(?P<pid>.)(?P<camera>.)")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<pid>\d+", "no regular expression (missing ), unterminated subpattern"),
        (r"(\d+)_(\d+)", r"no group \(\?P<pid>…\)"),
        ("", r"no group \(\?P<pid>…\)"),
        (r"(?P<person>\d+)_(?P<camera>\d+)", r"no group \(\?P<pid>…\); name what gives it"),
    ],
)
def test_a_bad_pattern_is_refused_before_anything_is_read(pattern: str, message: str) -> None:
    message = message.replace("(missing )", r"\(missing \)")
    with pytest.raises(UserError, match=message):
        check_data(DataConfig(dataset="folder", root=Path("missing"), name_pattern=pattern))


def test_a_pattern_needs_a_folder_without_table(tmp_path: Path) -> None:
    pattern = r"(?P<pid>\d+)x(?P<camera>\d+)"
    with pytest.raises(UserError, match=r"--data\.name-pattern: viper has names of its own"):
        check_data(DataConfig(dataset="viper", name_pattern=pattern))
    touch(tmp_path, [*people("", range(4)), "pictures.csv"])
    assert "pictures.csv says what names would; remove the table" in refusal(tmp_path, pattern)


def test_any_character_of_a_name(tmp_path: Path) -> None:
    names = [f"{pid:04d}_cam1_{rest}.JpG" for pid, rest in enumerate(("a\nb", " ' \"", "😀", "%s{}[b]\\", "x" * 235))]
    touch(tmp_path, names)
    assert pids(read_folder(tmp_path)) == {name: pid for pid, name in enumerate(names)}
