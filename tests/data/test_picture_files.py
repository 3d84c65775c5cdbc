"""What counts as a picture, and how folders are walked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.dataset_fixtures import write_duke
from intact_fast.data import picture_files
from intact_fast.data.datasets import read_dukemtmc
from intact_fast.data.picture_files import LeftOut, list_pictures, picture_suffixes
from intact_fast.errors import UserError
from intact_fast.serving.picture_reading import list_pictures as list_for_serving


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_pictures(folder, recursive=True).pictures]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_one_list_says_what_a_picture_is() -> None:
    assert picture_suffixes() >= {
        *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga"),
    }
    assert not picture_suffixes() & {
        *(".mpg", ".mpeg", ".pdf", ".ps", ".eps", ".psd", ".ico", ".h5", ".wmf", ".fli", ".avifs", ".pfm", ".im"),
        *(".txt", ".db", ".npy", ".mp4", ""),
    }


def test_every_command_lists_the_same(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.JPG", "b.WebP", "c.tiff", "d.jfif", "sub/e.PNG", "clip.mpg", "x.pdf")))
    expected = ["a.JPG", "b.WebP", "c.tiff", "d.jfif", "sub/e.PNG"]
    assert names(tmp_path) == expected
    listing = list_for_serving(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in listing.pictures] == expected
    assert listing.other_files == 2


@pytest.mark.parametrize(
    "name",
    [
        *(".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.jpg"),
        *("._a.jpg", "sub/._a.jpg", ".hidden.png", ".thumbnails/x/y/a.png", "$RECYCLE.BIN/a.jpg", "#recycle/a.jpg"),
        *("Thumbs.db", "thumbs.DB", ".DS_Store", "desktop.ini"),
    ],
)
def test_hidden_copies_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ".cache"
    touch(folder / "a.jpg", folder / name)
    listing = list_pictures(folder, recursive=True)
    assert [path.name for path in listing.pictures] == ["a.jpg"], "the folder itself may be hidden"
    assert [path.name for path in listing.left_out.hidden] == [Path(name).name]
    assert listing.left_out.describe() == f"1 hidden files ({Path(name).name})"


def test_linked_folders_are_entered(tmp_path: Path) -> None:
    touch(tmp_path / "in/a/1.jpg", tmp_path / "elsewhere/2.jpg", tmp_path / "elsewhere/deep/3.jpg")
    (tmp_path / "in/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/c.jpg").symlink_to("a/1.jpg")
    (tmp_path / "link").symlink_to("in")
    assert names(tmp_path / "in") == ["a/1.jpg", "b/2.jpg", "b/deep/3.jpg", "c.jpg"]
    assert names(tmp_path / "link") == names(tmp_path / "in")
    # a person's folder that two roles link to belongs to both
    (tmp_path / "in/d").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in")[-2:] == ["d/2.jpg", "d/deep/3.jpg"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "in/a/1.jpg", tmp_path / "elsewhere/2.jpg")
    (tmp_path / "in/a/loop").symlink_to("..")
    (tmp_path / "in/a/self").symlink_to("self")
    (tmp_path / "in/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in") == ["a/1.jpg", "b/2.jpg"]


def test_links_across_do_not_multiply(tmp_path: Path) -> None:
    for one in range(12):
        touch(tmp_path / str(one) / "x.jpg")
        for other in range(12):
            (tmp_path / str(one) / f"to{other}").symlink_to(tmp_path / str(other))
    found = names(tmp_path)
    assert {f"{one}/x.jpg" for one in range(12)} <= set(found)
    assert len(found) <= 12 + 12 * 12 * 12


def test_what_is_only_named_as_a_picture_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "folder.jpg/b.jpg")
    (tmp_path / "dead.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    listing = list_pictures(tmp_path, recursive=True)
    assert [path.name for path in listing.pictures] == ["a.jpg", "b.jpg"], "its pictures count"
    assert [path.name for path in listing.left_out.not_files] == ["dead.jpg", "folder.jpg", "pipe.png", "round.jpg"]
    assert "4 folders, devices or dead links named as pictures (" in listing.left_out.describe()


def test_flat_listing_stays_in_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "sub/b.jpg", tmp_path / "notes.txt")
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.jpg"]
    assert listing.left_out.describe() == "1 files that are no pictures (.txt)"


def test_heic_without_its_reader_tells_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "picture_suffixes", lambda: frozenset({".jpg"}))
    touch(tmp_path / "a.jpg", tmp_path / "b.HEIC")
    assert "pip install pillow-heif" in list_pictures(tmp_path).left_out.describe()
    assert LeftOut().describe() == ""


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "locked/a.jpg")
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("intact_fast.data.picture_files.os.scandir", refuse)
    with pytest.raises(UserError, match=r"locked: cannot be read \(Permission denied\); allow reading it"):
        list_pictures(tmp_path, recursive=True)


def test_official_layouts_leave_hidden_copies_out(tmp_path: Path) -> None:
    write_duke(tmp_path)
    expected = len(read_dukemtmc(tmp_path).pictures)
    touch(tmp_path / "query/._0001_c2_f0046302.jpg", tmp_path / "bounding_box_test/Thumbs.db")
    catalogue = read_dukemtmc(tmp_path)
    assert len(catalogue.pictures) == expected
    assert [path.name for path in catalogue.left_out.hidden] == ["._0001_c2_f0046302.jpg", "Thumbs.db"]
