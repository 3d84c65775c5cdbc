"""What batches hold, with either backend: degradation, augmentation, order, errors."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.loader_cases import (
    CONFIG,
    SIZES,
    START,
    assert_close,
    assert_identical,
    assert_same_numbers,
    backends,
    levels,
    loader_of,
    needs_dali,
    take,
    write_pictures,
)
from intact_fast.data import plan
from intact_fast.data.blind import corrupt, draw_corruption
from intact_fast.data.degradation import downsample, normalise, pixels, read_image, resize
from intact_fast.data.loader import readable_images
from intact_fast.errors import UserError


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


@backends
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_continuous_rates_follow_the_reference(pictures: list[Path], backend: str, interpolation: Any) -> None:
    config = replace(CONFIG, backend=backend, flip=False, rates="continuous", interpolation=interpolation)
    loader = loader_of(pictures, config)
    seen = set()
    for batch in take(loader, 12):
        assert batch.x_l is not None
        assert batch.r.dtype == torch.float32
        seen.update(batch.r.tolist())
        for x_l, index, r in zip(batch.x_l, batch.index.tolist(), batch.r.tolist(), strict=True):
            small = downsample(read_image(pictures[index]), r, interpolation)
            assert_close(x_l, normalise(pixels(resize(small, (64, 32), interpolation))))
    assert len(seen) == 48
    assert 2 <= min(seen) < max(seen) <= 4


@needs_dali
def test_both_loaders_agree_where_a_quotient_is_nearly_integral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In exact arithmetic half of these sizes would be a row smaller, which shows in stripes of a row."""
    rates = (np.float32(128) / np.arange(33, 65)).astype(np.float32)
    exact = [Fraction(128) / Fraction(float(r)) for r in rates]
    assert any(size < k for size, k in zip(exact, range(33, 65), strict=True))
    stripes = np.zeros((128, 64, 3), dtype=np.uint8)
    stripes[::5] = 255
    paths = [tmp_path / f"{i}.png" for i in range(32)]
    for path in paths:
        Image.fromarray(stripes).save(path)
    monkeypatch.setattr(plan, "_rates", lambda *arguments: rates)
    config = replace(CONFIG, rates="continuous")
    (ours,) = take(loader_of(paths, replace(config, backend="dali"), 32), 1)
    (reference,) = take(loader_of(paths, config, 32), 1)
    assert_same_numbers(ours, reference)
    assert ours.x_l is not None
    assert reference.x_l is not None
    for a, b in zip(ours.x_l, reference.x_l, strict=True):
        assert_close(a, b)


BLIND = replace(CONFIG, degradation="blind", pad=3)


def test_blind_batches_hold_corrupted_pictures(pictures: list[Path]) -> None:
    config = replace(BLIND, flip=False, pad=0)
    loader = loader_of(pictures, config)
    plain = take(loader_of(pictures, replace(config, degradation="downsample", rates="continuous")), 6)
    for batch, other, drawn in zip(take(loader, 6), plain, loader.schedule.plans(START), strict=False):
        assert_same_numbers(batch, other)
        assert torch.equal(batch.x_h, other.x_h)
        assert batch.x_l is not None
        assert drawn.corruption is not None
        for x_l, index, r, seed in zip(
            batch.x_l, batch.index.tolist(), batch.r.tolist(), drawn.corruption, strict=True
        ):
            small = corrupt(read_image(pictures[index]), draw_corruption(np.random.default_rng(seed), r))
            assert torch.equal(x_l, normalise(pixels(resize(small, (64, 32), "bilinear"))))


def test_a_share_of_blind_batches_stays_clean(pictures: list[Path]) -> None:
    config = replace(BLIND, clean_share=0.5)
    others = (BLIND, replace(BLIND, degradation="downsample", rates="continuous"))
    loaders = [loader_of(pictures, each) for each in (config, *others)]
    seen = set()
    for mixed, corrupted, clean, drawn in zip(
        *(take(loader, 4) for loader in loaders), loaders[0].schedule.plans(START), strict=False
    ):
        assert mixed.x_l is not None
        assert corrupted.x_l is not None
        assert clean.x_l is not None
        assert drawn.corruption is not None
        for i, seed in enumerate(drawn.corruption):
            expected = clean if seed < 0 else corrupted
            assert expected.x_l is not None
            assert torch.equal(mixed.x_l[i], expected.x_l[i])
            assert not torch.equal(corrupted.x_l[i], clean.x_l[i])
            seen.add(bool(seed < 0))
    assert seen == {True, False}


def test_blind_batches_do_not_depend_on_workers_or_processes(pictures: list[Path]) -> None:
    alone = take(loader_of(pictures, BLIND), 8)
    for a, b in zip(alone, take(loader_of(pictures, replace(BLIND, threads=2)), 8), strict=True):
        assert_identical(a, b)
    resumed = take(loader_of(pictures, replace(BLIND, threads=1)), 3, start=alone[4].next_position)
    for a, b in zip(alone[5:], resumed, strict=True):
        assert_identical(a, b)
    ranks = [take(loader_of(pictures, BLIND, 2, rank=rank, world_size=2), 8) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("x_h", "x_l", "r", "index"):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


@needs_dali
def test_auto_takes_pillow_for_blind_pictures_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [Path("unread.jpg")] * 4
    config = replace(BLIND, backend="auto")
    assert loader_of(paths, config, with_lr=False).backend == "dali", "HR pictures are not corrupted"
    assert capsys.readouterr().err == ""
    assert loader_of(paths, config).backend == "pillow"
    said = capsys.readouterr().err
    assert "--data.degradation blind: Pillow reads the training pictures" in said
    assert said.count("\n") == 1


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
        ({"backend": "dali", "degradation": "blind"}, r"--data\.degradation blind.*--data\.backend pillow"),
        ({"degradation": "blind", "cache_mib": 5}, r"--data\.cache-mib 5: .*--data\.degradation blind.*leave it out"),
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
@backends
def test_gpu_batches_resume_and_stay(pictures: list[Path], backend: str) -> None:
    loader = loader_of(pictures, replace(CONFIG, backend=backend, pad=3), device=torch.device("cuda", 0))
    unbroken = take(loader, 10)
    resumed = take(loader, 5, start=unbroken[4].next_position)
    for a, b in zip(resumed, unbroken[5:], strict=True):
        assert_identical(a, b)
