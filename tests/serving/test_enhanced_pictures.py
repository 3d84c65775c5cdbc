"""What a picture holds besides 8-bit RGB is kept in its enhanced file, or its loss is tallied."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from intact_fast.data.picture_files import picture_suffixes
from intact_fast.errors import UserError
from intact_fast.serving.enhanced_pictures import is_writable, read_original, save_enhanced, written_name
from intact_fast.tallies import take_tallies

PIXELS = torch.rand(3, 24, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def nothing_tallied() -> None:
    take_tallies()


def rgba() -> Image.Image:
    """A picture whose left half is transparent."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 4), dtype=np.uint8)
    pixels[:, :4, 3], pixels[:, 4:, 3] = 0, 255
    return Image.fromarray(pixels)


def enhanced(source: Image.Image, tmp_path: Path, given: str, written: str, **options: object) -> Image.Image:
    source.save(tmp_path / given, **options)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        original = read_original(tmp_path / given)
        (tmp_path / "out").mkdir(exist_ok=True)
        save_enhanced(PIXELS, original, tmp_path / "out" / written, "bilinear")
    return Image.open(tmp_path / "out" / written)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tga", ".jp2", ".avif"])
def test_opacity_is_enlarged_beside_the_pixels(tmp_path: Path, suffix: str) -> None:
    if not is_writable(Path(f"a{suffix}")):
        pytest.skip(f"this Pillow writes no {suffix}")
    image = enhanced(rgba(), tmp_path, "a.png", f"a{suffix}")
    assert (image.mode, image.size) == ("RGBA", (16, 24))
    opacity = np.asarray(image.getchannel("A"))
    assert opacity[:, :6].max() < 8
    assert opacity[:, 10:].min() > 247
    assert take_tallies() == {}


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "JPEG"), (".bmp", "BMP"), (".gif", "GIF")])
def test_lost_opacity_is_said(tmp_path: Path, suffix: str, name: str) -> None:
    assert enhanced(rgba(), tmp_path, "a.png", f"a{suffix}").size == (16, 24)
    (said,) = take_tallies()
    assert said == f"lost opacity, which {name} does not hold; name them .png"


def test_opacity_that_hides_nothing_is_not_missed(tmp_path: Path) -> None:
    whole = rgba()
    whole.putalpha(255)
    enhanced(whole, tmp_path, "a.png", "a.jpg")
    assert take_tallies() == {}


@pytest.mark.parametrize("transparency", [7, bytes(range(256))])
def test_a_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    palette = rgba().convert("RGB").convert("P")
    assert enhanced(palette, tmp_path, "a.png", "a.png", transparency=transparency).mode == "RGBA"
    assert enhanced(rgba().convert("LA"), tmp_path, "b.png", "b.png").mode == "RGBA"
    assert take_tallies() == {}


def test_sixteen_bits_are_said_to_be_lost(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(96, dtype=np.uint16).reshape(12, 8) * 600)
    for name in ("a.png", "b.tif"):
        assert enhanced(grey, tmp_path, name, name).mode == "RGB"
    (names,) = take_tallies().values()
    assert [Path(name).name for name in names] == ["a.png", "b.tif"]
    enhanced(grey, tmp_path, "c.png", "c.png", transparency=600)
    (said,) = take_tallies()
    assert said.startswith("with 16 bits were written with 8")


def test_sixteen_bits_of_rgb_are_noticed_too(tmp_path: Path) -> None:
    """Pillow reads them as 8 and cannot write them; libpng's suite has such files, this one is made by hand."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert read_original(tmp_path / "a.png").is_deep
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    assert not read_original(tmp_path / "b.png").is_deep


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_further_frames_are_said_to_be_left(tmp_path: Path, suffix: str) -> None:
    first = rgba().convert("RGB")
    further = {"save_all": True, "append_images": [first.rotate(180)]}
    assert not getattr(enhanced(first, tmp_path, f"a{suffix}", "a.png", **further), "is_animated", False)
    (said,) = take_tallies()
    assert said == "with several frames: the first is enhanced and written"


def test_the_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = rgba().convert("RGB")
    assert enhanced(rgb, tmp_path, "a.jpg", "a.png", icc_profile=profile).info["icc_profile"] == profile
    grey = enhanced(rgb.convert("L"), tmp_path, "b.jpg", "b.png", icc_profile=profile)
    assert "icc_profile" not in grey.info, "grey's profile says nothing of RGB"


def test_every_picture_suffix_is_written_or_gets_png_after_it(tmp_path: Path) -> None:
    rgba().save(tmp_path / "a.png")
    original = read_original(tmp_path / "a.png")
    for suffix in sorted(picture_suffixes()):
        path = written_name(tmp_path / f"b{suffix}")
        assert path.suffix in (suffix, ".png")
        save_enhanced(PIXELS, original, path, "bilinear")
        assert Image.open(path).size == (16, 24)
    for other in ("a.pdf", "a.mpg", "a.xbm", "a"):
        assert not is_writable(Path(other))


def test_pixels_of_no_known_range_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: unreadable picture \(floating-point pixels\)"):
        read_original(tmp_path / "a.tif")
