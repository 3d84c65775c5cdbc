from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intact_fast.config.options import DataConfig
from intact_fast.data import pillow_loader
from intact_fast.data.batches import Batch
from intact_fast.data.degradation import downsample, normalise, pixels, read_image, resize
from intact_fast.data.loader import TrainLoader, build_loader, readable_images
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.data.plan import Position
from intact_fast.errors import UserError

HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="needs NVIDIA DALI")
backends = pytest.mark.parametrize("backend", ["pillow", pytest.param("dali", marks=needs_dali)])

CPU = torch.device("cpu")
START = Position(0, 0)
CONFIG = DataConfig(height=64, width=32, threads=0, backend="pillow")
SIZES = [(128, 64), (128, 48), (129, 65), (61, 31), (97, 140), (201, 83), (64, 32), (40, 20)]


def write_pictures(folder: Path, sizes: Sequence[tuple[int, int]], suffix: str = "jpg") -> list[Path]:
    """Smooth pictures with some noise, of (height, width)."""
    rng = np.random.default_rng(5)
    paths = []
    for i, (height, width) in enumerate(sizes):
        coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + rng.normal(0, 4, (height, width, 3))
        paths.append(folder / f"{i:03d}.{suffix}")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), SIZES * 3)


def loader_of(
    paths: Sequence[Path], config: DataConfig, batch_size: int = 4, device: torch.device = CPU, **options: Any
) -> TrainLoader:
    labels = [3 * i for i in range(len(paths))]
    return build_loader(paths, labels, config, batch_size=batch_size, seed=7, device=device, **options)


def take(loader: TrainLoader, count: int, start: Position = START) -> list[Batch]:
    with closing(loader.iterate(start)) as batches:
        return list(islice(batches, count))


def levels(normalised: Tensor) -> Tensor:
    """Undo the normalisation: 8-bit levels as floating point."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (normalised.cpu() * std + mean) * 255


def assert_close(a: Tensor, b: Tensor) -> None:
    """The tolerance between backends: 0.5 levels on average, 12 at most."""
    difference = (levels(a) - levels(b)).abs()
    assert difference.mean() <= 0.5
    assert difference.max() <= 12


def assert_same_numbers(a: Batch, b: Batch) -> None:
    for name in ("label", "r", "index"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.next_position == b.next_position


def assert_identical(a: Batch, b: Batch) -> None:
    assert_same_numbers(a, b)
    assert torch.equal(a.x_h, b.x_h)
    assert (a.x_l is None) == (b.x_l is None)
    if a.x_l is not None and b.x_l is not None:
        assert torch.equal(a.x_l, b.x_l)


@backends
def test_batches_follow_the_reference_degradation(pictures: list[Path], backend: str) -> None:
    loader = loader_of(pictures, replace(CONFIG, backend=backend, flip=False))
    for batch in take(loader, loader.steps_per_epoch):
        assert batch.x_l is not None
        assert batch.x_h.shape == batch.x_l.shape == (4, 3, 64, 32)
        assert batch.x_h.dtype == torch.float32
        assert batch.label.tolist() == [3 * i for i in batch.index.tolist()]
        for i, (index, r) in enumerate(zip(batch.index.tolist(), batch.r.tolist(), strict=True)):
            native = read_image(pictures[index])
            assert_close(batch.x_h[i], normalise(pixels(resize(native, (64, 32), "bilinear"))))
            small = downsample(native, r, "bilinear")
            assert_close(batch.x_l[i], normalise(pixels(resize(small, (64, 32), "bilinear"))))


@needs_dali
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


@needs_dali
@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_dali_reads_lossless_formats(tmp_path: Path, suffix: str) -> None:
    paths = write_pictures(tmp_path, SIZES[:4], suffix)
    ours, reference = (take(loader_of(paths, replace(CONFIG, backend=backend)), 1)[0] for backend in ("dali", "pillow"))
    assert_close(ours.x_h, reference.x_h)


@needs_dali
def test_dali_turns_pictures_upright(tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, [(50, 90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    ours, reference = (
        take(loader_of([path], replace(CONFIG, backend=backend), batch_size=1), 1)[0] for backend in ("dali", "pillow")
    )
    assert_close(ours.x_h, reference.x_h)


@needs_dali
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


@backends
def test_lr_and_hr_are_augmented_together(tmp_path: Path, backend: str) -> None:
    # with r = 1 and pictures of the input's size, LR equals HR unless they are shifted or mirrored apart
    paths = write_pictures(tmp_path, [(64, 32)] * 8)
    config = replace(CONFIG, backend=backend, factors=(1,), pad=6)
    (batch,) = take(loader_of(paths, config, batch_size=8), 1)
    (plain,) = take(loader_of(paths, replace(config, flip=False, pad=0), batch_size=8), 1)
    assert batch.x_l is not None
    assert torch.equal(batch.x_h, batch.x_l)
    assert torch.equal(batch.index, plain.index)
    assert not torch.equal(batch.x_h, plain.x_h)


@backends
def test_padding_is_black(tmp_path: Path, backend: str) -> None:
    Image.new("RGB", (32, 64), "white").save(tmp_path / "white.png")
    config = replace(CONFIG, backend=backend, pad=8)
    loader = loader_of([tmp_path / "white.png"], config, batch_size=1)
    seen = torch.cat([levels(batch.x_h) for batch in take(loader, 6)])
    assert set(seen.round().int().unique().tolist()) == {0, 255}


@backends
def test_pad_argument_overrides_the_configuration(pictures: list[Path], backend: str) -> None:
    config = replace(CONFIG, backend=backend)
    (a,) = take(loader_of(pictures, replace(config, pad=5)), 1)
    (b,) = take(loader_of(pictures, config, pad=5), 1)
    assert_identical(a, b)


@backends
def test_without_lr_there_is_only_hr(pictures: list[Path], backend: str) -> None:
    config = replace(CONFIG, backend=backend)
    (hr_only,) = take(loader_of(pictures, config, with_lr=False), 1)
    (both,) = take(loader_of(pictures, config), 1)
    assert hr_only.x_l is None
    assert torch.equal(hr_only.x_h, both.x_h)


@backends
@pytest.mark.parametrize("threads", [0, 2])
def test_resuming_equals_an_unbroken_run(pictures: list[Path], backend: str, threads: int) -> None:
    loader = loader_of(pictures, replace(CONFIG, backend=backend, pad=3, threads=threads))
    unbroken = take(loader, 14)
    for stop in (1, 6, 9):
        resumed = take(loader, 3, start=unbroken[stop - 1].next_position)
        for a, b in zip(resumed, unbroken[stop:], strict=False):
            assert_identical(a, b)


@backends
def test_two_ranks_see_what_one_process_sees(pictures: list[Path], backend: str) -> None:
    config = replace(CONFIG, backend=backend, pad=3)
    ranks = [take(loader_of(pictures, config, 2, rank=rank, world_size=2), 8) for rank in range(2)]
    for whole, *parts in zip(take(loader_of(pictures, config, 4), 8), *ranks, strict=True):
        for name in ("x_h", "x_l", "label", "r", "index"):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
        assert {part.next_position for part in parts} == {whole.next_position}


@needs_dali
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


@needs_dali
def test_an_unreadable_picture_is_named_when_it_is_cached(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, SIZES)
    paths[4].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"004\.jpg: unreadable picture"):
        take(loader_of(paths, replace(CONFIG, backend="dali", cache_mib=10)), 1)


@backends
def test_views_tell_mirrored_pictures_apart(pictures: list[Path], backend: str) -> None:
    by_view: dict[int, Tensor] = {}
    for batch in take(loader_of(pictures, replace(CONFIG, backend=backend)), 36):
        assert batch.view is not None
        assert batch.view_on_host is not None
        assert batch.view.tolist() == batch.view_on_host.tolist()
        assert torch.equal(batch.view // 2, batch.index)
        for view, x_h in zip(batch.view_on_host.tolist(), batch.x_h, strict=True):
            assert torch.equal(by_view.setdefault(view, x_h.clone()), x_h)
    both = [view for view in by_view if view % 2 == 0 and view + 1 in by_view]
    assert len(both) > 10
    for view in both:
        torch.testing.assert_close(by_view[view], by_view[view + 1].flip(2))


@backends
def test_a_batch_outlives_its_iterator(pictures: list[Path], backend: str) -> None:
    loader = loader_of(pictures, replace(CONFIG, backend=backend))
    with closing(loader.iterate(START)) as batches:
        first = next(batches)
        x_h, x_l = first.x_h.clone(), first.x_l.clone()
        for _ in range(8):
            next(batches)
    assert torch.equal(first.x_h, x_h)
    assert torch.equal(first.x_l, x_l)


@backends
def test_reading_leaves_the_global_random_state(pictures: list[Path], backend: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(loader_of(pictures, replace(CONFIG, backend=backend, threads=1)), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_give_what_this_process_gives(pictures: list[Path]) -> None:
    # torch's thread pool and a process group are running when the workers fork
    torch.randn(256, 256) @ torch.randn(256, 256)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.distributed.all_reduce(torch.ones(3))
        parallel = take(loader_of(pictures, replace(CONFIG, threads=2, pad=3)), 10)
    finally:
        torch.distributed.destroy_process_group()
    for a, b in zip(parallel, take(loader_of(pictures, replace(CONFIG, pad=3)), 10), strict=True):
        assert_identical(a, b)


def test_workers_never_finalise_what_the_trainer_owned(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A DALI pipeline left as garbage made a worker wait for ever for threads that it did not have."""

    class Owned:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    def read(path: Path) -> Image.Image:
        gc.collect()
        return read_image(path)

    monkeypatch.setattr(pillow_loader, "read_image", read)
    gc.collect()
    gc.disable()
    try:
        Owned()
        take(loader_of(pictures, replace(CONFIG, threads=2)), 1)
    finally:
        gc.enable()
    gc.collect()
    assert [path.name for path in tmp_path.iterdir() if path.name.isdecimal()] == [str(os.getpid())]


@backends
@pytest.mark.parametrize("leave", ["close", "forget"])
def test_leaving_the_iterator_ends_its_workers(pictures: list[Path], backend: str, leave: str) -> None:
    before = set(threading.enumerate())
    batches = loader_of(pictures, replace(CONFIG, backend=backend, threads=2)).iterate(START)
    next(batches)
    if leave == "close":
        batches.close()
    del batches
    assert not multiprocessing.active_children()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


@backends
@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("damage", ["truncated", "no picture", "missing"])
def test_an_unreadable_picture_is_named(tmp_path: Path, backend: str, threads: int, damage: str) -> None:
    paths = write_pictures(tmp_path, SIZES)
    if damage == "missing":
        paths[5].unlink()
    else:
        content = paths[5].read_bytes()
        paths[5].write_bytes(content[: len(content) // 2] if damage == "truncated" else b"no picture")
    loader = loader_of(paths, replace(CONFIG, backend=backend, threads=threads))
    with pytest.raises(UserError, match=r"005\.jpg: unreadable picture.*--data\.skip-corrupt") as caught:
        take(loader, loader.steps_per_epoch)
    assert "\n" not in str(caught.value)
    assert readable_images(paths, threads) == [i != 5 for i in range(len(paths))]


@backends
def test_pictures_smaller_than_the_rate(tmp_path: Path, backend: str) -> None:
    paths = write_pictures(tmp_path, [(3, 2), (1, 1), (9, 3), (2, 40)])
    (batch,) = take(loader_of(paths, replace(CONFIG, backend=backend, factors=(4,))), 1)
    (reference,) = take(loader_of(paths, replace(CONFIG, factors=(4,))), 1)
    assert batch.x_l is not None
    assert reference.x_l is not None
    assert_close(batch.x_l, reference.x_l)


@needs_dali
def test_auto_takes_dali_where_it_can() -> None:
    paths = [Path("unread.jpg")] * 4
    assert loader_of(paths, replace(CONFIG, backend="auto")).backend == "dali"
    assert loader_of(paths, replace(CONFIG, backend="auto", interpolation="area")).backend == "pillow"


def test_without_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    paths = [Path("unread.jpg")] * 4
    assert loader_of(paths, replace(CONFIG, backend="auto")).backend == "pillow"
    with pytest.raises(UserError, match=r"--data\.backend dali.*nvidia-dali-cuda130.*pillow"):
        loader_of(paths, replace(CONFIG, backend="dali"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "pillow", "cache_mib": 5}, r"--data\.cache-mib 5.*--data\.backend dali"),
        ({"backend": "dali", "interpolation": "area"}, r"--data\.interpolation area.*--data\.backend pillow"),
        pytest.param({"backend": "dali", "decode": "gpu"}, r"--data\.decode gpu", marks=needs_dali),
    ],
)
def test_unfit_options_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loader_of([Path("unread.jpg")] * 4, replace(CONFIG, **changes))


def test_fewer_pictures_than_a_batch() -> None:
    with pytest.raises(UserError, match=r"--training\.batch-size"):
        loader_of([Path("unread.jpg")] * 3, CONFIG)


@pytest.mark.cuda
@needs_dali
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


@pytest.mark.cuda
@backends
def test_gpu_batches_resume_and_stay(pictures: list[Path], backend: str) -> None:
    loader = loader_of(pictures, replace(CONFIG, backend=backend, pad=3), device=torch.device("cuda", 0))
    unbroken = take(loader, 10)
    resumed = take(loader, 5, start=unbroken[4].next_position)
    for a, b in zip(resumed, unbroken[5:], strict=True):
        assert_identical(a, b)
