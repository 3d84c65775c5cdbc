from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intact_fast.data.degradation import downsample, normalise, pixels, read_image, resize
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.errors import UserError


@pytest.fixture
def picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((65, 129), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("r", "size"), [(1, (65, 129)), (2, (32, 64)), (3, (21, 43)), (4, (16, 32))])
def test_lr_size_is_the_floor_of_the_native_size(picture: Image.Image, r: int, size: tuple[int, int]) -> None:
    assert downsample(picture, r, "bilinear").size == size


def test_a_side_never_vanishes() -> None:
    assert downsample(Image.new("RGB", (3, 9)), 4, "bicubic").size == (1, 2)


def test_downsampling_is_antialiased() -> None:
    columns = np.zeros((32, 32, 3), dtype=np.uint8)
    columns[:, ::2] = 255
    for interpolation in ("bilinear", "bicubic", "lanczos", "area"):
        inner = np.asarray(downsample(Image.fromarray(columns), 4, interpolation))[:, 2:-2]
        np.testing.assert_allclose(inner, 127.5, atol=1)


def test_area_averages_boxes_downwards_and_is_bilinear_upwards(picture: Image.Image) -> None:
    blocks = np.asarray(picture.crop((0, 0, 64, 128)), dtype=np.float64)
    means = blocks.reshape(32, 4, 16, 4, 3).mean(axis=(1, 3))
    small = downsample(picture.crop((0, 0, 64, 128)), 4, "area")
    np.testing.assert_allclose(np.asarray(small), means, atol=1)
    assert resize(small, (256, 128), "area") == resize(small, (256, 128), "bilinear")
    assert resize(small, (16, 128), "area") == resize(small, (16, 128), "bilinear")


def test_jpeg_quality_degrades_without_changing_the_size(picture: Image.Image) -> None:
    clean = np.asarray(downsample(picture, 2, "bilinear"), dtype=np.float64)
    errors = [np.abs(np.asarray(downsample(picture, 2, "bilinear", quality)) - clean).mean() for quality in (90, 10)]
    assert 0 < errors[0] < errors[1]


def test_tensor_is_normalised_rgb_in_chw(picture: Image.Image) -> None:
    tensor = normalise(pixels(picture))
    assert tensor.shape == (3, 129, 65)
    assert tensor.dtype == torch.float32
    expected = (np.asarray(picture)[7, 3] / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(tensor[:, 7, 3], expected, rtol=1e-5)


def test_a_batch_is_normalised_like_its_pictures(picture: Image.Image) -> None:
    pictures = [picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    batch = normalise(torch.from_numpy(np.stack([np.asarray(p) for p in pictures])))
    assert torch.equal(batch, torch.stack([normalise(pixels(p)) for p in pictures]))
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("suffix", ["bmp", "png"])
def test_reads_lossless_formats(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    picture.save(path)
    assert read_image(path).tobytes() == picture.tobytes()


def test_reads_grey_as_rgb(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("L").save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").mode == "RGB"


def test_turns_pictures_upright(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "rotated.jpg", exif=exif)
    assert read_image(tmp_path / "rotated.jpg").size == (129, 65)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_a_truncated_picture_is_named(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    path = tmp_path / f"truncated.{suffix}"
    picture.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"truncated\.{suffix}: unreadable picture"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fake.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"fake\.jpg"):
        read_image(tmp_path / "fake.jpg")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg.*no such file"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.cuda
def test_normalising_does_not_wait_for_the_gpu() -> None:
    pictures = torch.zeros(2, 8, 4, 3, dtype=torch.uint8, device="cuda")
    expected = normalise(pictures)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = normalise(pictures)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
