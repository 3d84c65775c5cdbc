"""A picture file gives an upright picture, or an error that names it."""

from __future__ import annotations

import errno
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from data.damaged_files import BROKEN_EXIF, SIZE, damaged_files, encoded, whole_files
from intact_fast.data import decoding, picture_files
from intact_fast.data.decoding import AS_THEY_LIE, picture_size, read_upright, upright
from intact_fast.data.degradation import read_image
from intact_fast.errors import UserError
from intact_fast.tallies import take_tallies


@pytest.fixture(autouse=True)
def nothing_tallied() -> None:
    take_tallies()


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", BROKEN_EXIF)
def test_exif_that_cannot_be_taken_leaves_the_pixels_as_they_lie(
    tmp_path: Path, picture: Image.Image, kind: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, "JPEG", exif=BROKEN_EXIF[kind]))
    with Image.open(path) as image:
        lying = np.asarray(image)
    assert read_image(path).size == SIZE
    assert np.array_equal(np.asarray(read_image(path)), lying)
    assert take_tallies() == {AS_THEY_LIE: [str(path)]}


@pytest.mark.parametrize(
    "error", [TypeError, SyntaxError, OverflowError, ZeroDivisionError, KeyError, EOFError, RuntimeError, MemoryError]
)
def test_whatever_the_readers_of_exif_raise(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(image: Image.Image) -> None:
        raise error("tag")

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    assert upright(picture, "a.jpg") == picture
    assert take_tallies() == {AS_THEY_LIE: ["a.jpg"]}


@pytest.mark.parametrize(
    "error", [TypeError, SyntaxError, OverflowError, ZeroDivisionError, KeyError, EOFError, RuntimeError, MemoryError]
)
def test_whatever_the_readers_of_pixels_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(path: Path, formats: tuple[str, ...]) -> None:
        raise error("two\nlines")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UserError, match=r"a\.jpg: unreadable picture \(.*two.*lines.*\); replace the file$"):
        read_image(tmp_path / "a.jpg")


def test_files_that_the_machine_cannot_open_are_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else --data.skip-corrupt would leave good pictures out."""

    def fail(path: Path, formats: tuple[str, ...]) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "a.jpg")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        read_image(Path("a.jpg"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to("nowhere"), "no such file"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"%PDF-1.7"), "no picture format that is known"),
        (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), r"HEIF\); pip install pillow-heif"),
    ],
)
def test_what_is_no_picture_is_named_with_the_reason(tmp_path: Path, make: object, reason: str) -> None:
    path = tmp_path / "a.jpg"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"^{path}: unreadable picture \({reason}"):
        read_image(path)


def test_a_bomb_is_named(tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    picture.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match=r"a\.png: unreadable picture \(more pixels than any crop has, 33,177,600\)"):
        read_image(tmp_path / "a.png")


# as of the module's import, which pytest undoes
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_frame_of_8k_is_read_and_a_row_more_is_refused_in_one_line(tmp_path: Path) -> None:
    """Without Pillow's own warning, which comes with three times as many pixels."""
    for name, rows in (("a", 4320), ("b", 4321), ("c", 13_000)):
        Image.new("1", (7680, rows)).save(tmp_path / f"{name}.png")
    code = "import sys; from intact_fast.data.decoding import *; print(read_upright(Path(sys.argv[1])).size)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(7680, 4320)\n", "")
    for name in ("b", "c"):
        with pytest.raises(UserError, match=f"{name}.png: unreadable picture"):
            read_upright(tmp_path / f"{name}.png")
        with pytest.raises(UserError, match=f"{name}.png: unreadable picture"):
            picture_size(tmp_path / f"{name}.png")


def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow lets Ghostscript draw what begins as PostScript does, whatever the file is called."""
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **_: started.append(words))
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **_: started.append(words))
    with pytest.raises(UserError, match="no picture format that is known"):
        read_image(tmp_path / "a.jpg")
    assert not started


@pytest.mark.parametrize("pixels", [[[70_000]], [[-1]]])
def test_numbers_without_a_range_are_no_picture(tmp_path: Path, pixels: list[list[int]]) -> None:
    Image.fromarray(np.array(pixels, dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: unreadable picture \(32-bit or negative pixels\)"):
        read_image(tmp_path / "a.tif")


def test_damaged_exif_is_tallied_once(tmp_path: Path, picture: Image.Image) -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nzz\n")
    picture.save(tmp_path / "a.png", pnginfo=text)
    upright(read_upright(tmp_path / "a.png"), "a PIL image")
    assert take_tallies() == {AS_THEY_LIE: [str(tmp_path / "a.png")]}


def test_heif_is_read_where_pillow_heif_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own function is called, before the first picture is opened."""
    called = []
    fake = SimpleNamespace(register_heif_opener=lambda: called.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)  # type: ignore[arg-type]
    picture_files.picture_suffixes.cache_clear()
    try:
        with pytest.raises(UserError):
            read_upright(Path("gone.heic"))
    finally:
        picture_files.picture_suffixes.cache_clear()
    assert called == [True]


def test_every_whole_file_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for name, files in whole_files().items():
        for content in files:
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                image = read_image(path)
            turned = Image.open(path).getexif().get(ExifTags.Base.Orientation) == 6
            assert image.size == (SIZE[::-1] if turned else SIZE), name
            assert image.mode == "RGB"
    assert take_tallies() == {}


def test_a_user_s_own_error_is_not_taken_for_exif(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow picture that is opened and not yet read may be damaged."""

    def fail() -> None:
        raise OSError("image file is truncated")

    monkeypatch.setattr(picture, "load", fail)
    with pytest.raises(OSError, match="truncated"):
        upright(picture, "a PIL image")
    assert decoding.AS_THEY_LIE not in take_tallies()


# Pillow's own words of damaged tags are silenced when the module is imported, and pytest hears them again
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_file_gives_a_picture_or_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # those that claim to be huge take long
    path = tmp_path / "a.jpg"
    pictures, refused = 0, []
    for content in damaged_files(5000, seed=1):
        path.write_bytes(content)
        try:
            assert read_image(path).mode == "RGB"
            pictures += 1
        except UserError as error:
            refused.append((path, str(error)))
    assert all(text.startswith(f"{path}: unreadable picture (") and "\n" not in text for path, text in refused)
    assert 1000 < pictures < 4000
