"""NVIDIA DALI gives what Pillow gives, with and without its cache, on the CPU and on a GPU."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data.loader_cases import (
    CONFIG,
    SIZES,
    assert_close,
    assert_identical,
    assert_same_numbers,
    levels,
    loader_of,
    needs_dali,
    take,
    write_pictures,
)
from intact_fast.errors import UserError

pytestmark = needs_dali


@pytest.mark.parametrize("size", [(64, 32), (256, 128)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("r", [2, 3, 4])
def test_dali_equals_pillow(pictures: list[Path], size: tuple[int, int], interpolation: Any, r: int) -> None:
    config = replace(CONFIG, height=size[0], width=size[1], interpolation=interpolation, factors=(r,), pad=5)
    ours, reference = (
        take(loader_of(pictures, replace(config, backend=backend), batch_size=8), 3) for backend in ("dali", "pillow")
    )
    for a, b in zip(ours, reference, strict=True):
        assert_same_numbers(a, b)
        assert a.x_l is not None
        assert b.x_l is not None
        for i in range(8):
            assert_close(a.x_h[i], b.x_h[i])
            assert_close(a.x_l[i], b.x_l[i])


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_dali_reads_lossless_formats(tmp_path: Path, suffix: str) -> None:
    paths = write_pictures(tmp_path, SIZES[:4], suffix)
    ours, reference = (take(loader_of(paths, replace(CONFIG, backend=backend)), 1)[0] for backend in ("dali", "pillow"))
    assert_close(ours.x_h, reference.x_h)


def test_dali_turns_pictures_upright(tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, [(50, 90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    ours, reference = (
        take(loader_of([path], replace(CONFIG, backend=backend), batch_size=1), 1)[0] for backend in ("dali", "pillow")
    )
    assert_close(ours.x_h, reference.x_h)


def test_dali_compresses_the_lr_picture(pictures: list[Path]) -> None:
    config = replace(CONFIG, backend="dali")
    clean, compressed, reference = (
        take(loader_of(pictures, c), 1)[0].x_l
        for c in (config, replace(config, jpeg_quality=20), replace(CONFIG, jpeg_quality=20))
    )
    assert clean is not None
    assert compressed is not None
    assert reference is not None
    to_clean = (levels(compressed) - levels(clean)).abs().mean()
    # a level of difference before the quantisation can be many after it, so only the mean is compared
    assert (levels(compressed) - levels(reference)).abs().mean() < min(1.5, to_clean / 3)


@pytest.mark.parametrize("cache_mib", [1, 100])
def test_cached_pictures_are_the_decoded_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_mib: int) -> None:
    """Where all of them fit, and where some do; of several sizes, one of them upright by its EXIF entry."""
    paths = write_pictures(tmp_path, [(400, 300), (64, 32), (300, 500), (500, 400), (8, 4), (40, 70)])
    rotated = Image.open(paths[1])
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(paths[1], exif=exif)
    config = replace(CONFIG, backend="dali", pad=3, jpeg_quality=50)
    plain = take(loader_of(paths, config, batch_size=3), 6)
    kept: list[int] = []
    module = importlib.import_module("intact_fast.data.dali_loader")
    decode_pictures = module.decode_pictures

    def counted(*arguments: Any) -> Any:
        decoded = decode_pictures(*arguments)
        kept.append(len(decoded))
        return decoded

    monkeypatch.setattr(module, "decode_pictures", counted)
    cached = take(loader_of(paths, replace(config, cache_mib=cache_mib), batch_size=3), 6)
    assert kept == [3 if cache_mib == 1 else 6]
    for a, b in zip(cached, plain, strict=True):
        assert_identical(a, b)


def test_an_unreadable_picture_is_named_when_it_is_cached(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, SIZES)
    paths[4].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"004\.jpg: unreadable picture"):
        take(loader_of(paths, replace(CONFIG, backend="dali", cache_mib=10)), 1)


@pytest.mark.cuda
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("decode", ["cpu", "gpu"])
def test_gpu_pictures_match_pillow(tmp_path: Path, decode: Any, interpolation: Any) -> None:
    # lossless files, so that only the resizing is compared and not the JPEG decoders
    paths = write_pictures(tmp_path, SIZES, "png")
    config = replace(CONFIG, interpolation=interpolation, pad=5)
    device = torch.device("cuda", 0)
    (ours,) = take(loader_of(paths, replace(config, backend="dali", decode=decode), 8, device), 1)
    (reference,) = take(loader_of(paths, config, 8), 1)
    assert ours.x_h.device == ours.label.device == device
    assert ours.label.tolist() == reference.label.tolist()
    assert_close(ours.x_h, reference.x_h)
    assert_close(ours.x_l, reference.x_l)
