"""Both loaders give the same picture of every file, or the same verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.damaged_files import BROKEN_EXIF, damaged_files, encoded, whole_files
from data.loader_cases import CONFIG, assert_close, loader_of, needs_dali, take
from intact_fast.data.degradation import read_image
from intact_fast.data.loader import readable_images
from intact_fast.data.plain_files import is_plain, is_plain_file
from intact_fast.errors import UserError
from intact_fast.tallies import take_tallies


def noise(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def upright_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(noise(), "JPEG"), True),
        (encoded(noise(), "JPEG", progressive=True, restart_marker_blocks=1), True),
        (encoded(noise(), "JPEG", subsampling=0, comment=b"of a camera"), True),
        (encoded(noise(), "JPEG", exif=upright_exif(1)), True),
        (encoded(noise("L"), "JPEG"), True),
        (encoded(noise(), "JPEG", exif=upright_exif(6)), False),
        (encoded(noise(), "JPEG", xmp=b'<x tiff:Orientation="6"/>'), False),
        (encoded(noise(), "JPEG", keep_rgb=True), False),
        (encoded(noise("CMYK"), "JPEG"), False),
        (encoded(noise(), "JPEG") + b"\0", False),
        (encoded(noise(), "JPEG")[:-2], False),
        (encoded(noise(), "JPEG")[:300] + b"\xff\xd9", False),
        (encoded(noise(), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), False),
        (encoded(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xc3"), False),
        (encoded(noise(), "PNG"), True),
        (encoded(noise("L"), "PNG", dpi=(72, 72)), True),
        (encoded(noise("RGBA"), "PNG"), False),
        (encoded(noise("P"), "PNG"), False),
        (encoded(noise("1"), "PNG"), False),
        (encoded(noise("I;16"), "PNG"), False),
        (encoded(noise(), "PNG", exif=upright_exif(6)), False),
        (encoded(noise(), "PNG", transparency=(0, 0, 0)), False),
        (encoded(noise(), "PNG")[:-12], False),
        (encoded(noise(), "PNG").replace(b"IDAT", b"IDAT\0"), False),
        (encoded(noise(), "BMP"), False),
        (encoded(noise(), "GIF"), False),
        (b"\xff\xd8\xff\xd9", False),
        (b"\xff\xd8\xff\xff\xd9", False),
        (b"", False),
    ],
)
def test_which_files_dali_is_trusted_with(content: bytes, expected: bool) -> None:
    assert is_plain(content) == expected


def test_no_file_of_more_pixels_than_pillow_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encoded(noise(), "JPEG"), encoded(noise(), "PNG")]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * 20)
    assert [is_plain(content) for content in files] == [True, True]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * 20 - 1)
    assert [is_plain(content) for content in files] == [False, False]


def test_a_file_that_cannot_be_read_is_not_plain(tmp_path: Path) -> None:
    assert not is_plain_file(tmp_path / "gone.jpg")
    assert not is_plain_file(tmp_path)


@needs_dali
@pytest.mark.parametrize("cache_mib", [0, 10])
def test_both_loaders_read_every_form_under_any_name(tmp_path: Path, cache_mib: int) -> None:
    contents = [content for files in whole_files().values() for content in files]
    contents += [encoded(noise(), "JPEG", exif=exif) for exif in BROKEN_EXIF.values()]
    paths = [tmp_path / f"{i:03d}.jpg" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    take_tallies()
    config = replace(CONFIG, factors=(1,))
    reference, ours = (
        take(loader_of(paths, chosen, batch_size=len(paths)), 2)
        for chosen in (config, replace(config, backend="dali", cache_mib=cache_mib))
    )
    for a, b in zip(ours, reference, strict=True):
        assert torch.equal(a.index, b.index)
        for i in range(len(paths)):
            assert_close(a.x_h[i], b.x_h[i])
    (lying,) = take_tallies().values()
    assert sorted(lying) == [str(path) for path in paths[-2:]]


@needs_dali
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_both_loaders_agree_on_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 files: those that Pillow takes, DALI's loader takes; those that it refuses are named by both."""
    from intact_fast.data.dali_decoding import decode_pictures

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    good, refused = [], []
    for number, content in enumerate(damaged_files(5000, seed=2)):
        path = tmp_path / f"{number:04d}.jpg"
        path.write_bytes(content)
        try:
            read_image(path)
            good.append(path)
        except UserError:
            refused.append(path)
    assert sum(map(is_plain_file, good)) > 50, "DALI decodes some"
    config = replace(CONFIG, height=16, width=8, threads=1, factors=(1,), flip=False)
    size = len(good) // 10
    reference, ours = (
        take(loader_of(good, chosen, size, with_lr=False), 10) for chosen in (config, replace(config, backend="dali"))
    )
    for a, b in zip(ours, reference, strict=True):
        assert_close(a.x_h, b.x_h)
    plain = [path for path in refused if is_plain_file(path)]
    assert plain, "DALI meets some that Pillow refuses"
    for path in plain:
        with pytest.raises(UserError, match=rf"^{path}: unreadable picture .*--data\.skip-corrupt$"):
            decode_pictures([path], 2**20, False, None, 1)
    assert not any(readable_images(refused, 1))
    assert all(readable_images(good, 1))


@needs_dali
def test_what_dali_refuses_goes_to_pillow(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that a driver or version lacks, say: the batch is what Pillow gives, and the next ones follow."""
    module = pytest.importorskip("intact_fast.data.dali_source")
    monkeypatch.setattr(module, "is_plain_file", lambda path: True)
    strange = pictures[0].with_name("gif.jpg")
    strange.write_bytes(encoded(noise(), "GIF"))
    paths = [strange, *pictures[1:]]
    config = replace(CONFIG, pad=2)
    reference, ours = (take(loader_of(paths, replace(config, backend=b)), 7) for b in ("pillow", "dali"))
    for a, b in zip(ours, reference, strict=True):
        assert torch.equal(a.index, b.index)
        assert a.next_position == b.next_position
        assert_close(a.x_h, b.x_h)
