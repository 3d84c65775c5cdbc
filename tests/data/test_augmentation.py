"""Strong augmentation: alike in both pictures of a pair, and a function of seed, position and process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import write_picture
from intact_fast.config.options import DataConfig
from intact_fast.data.augmentation import Draw, StrongAugmentation, draw, with_strong_augmentation
from intact_fast.data.batches import NO_IDENTITY, Batch
from intact_fast.data.loader import TrainLoader, build_loader
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.data.plan import Position

CPU = torch.device("cpu")
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
UNCHANGED = Draw(np.eye(3)[None].repeat(4, 0), np.ones(4), np.array([1, 2, 3, 0]), np.zeros((4, 4), dtype=np.int64))


def batch_of_pictures(count: int = 4, height: int = 12, width: int = 8) -> Batch:
    """Pictures whose LR form is their own, with the channels innermost in memory, as loaders give them."""
    pixels = torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(0)).movedim(-1, 1)
    x = (pixels - MEAN) / STD
    view = torch.arange(count) * 2
    label = torch.arange(count)
    return Batch(x, x.clone(), label, label, label, Position(3, 7), view, view.numpy())


def augmentation(seed: int = 5, rank: int = 0) -> StrongAugmentation:
    return StrongAugmentation(seed, rank, CPU)


def assert_equal(a: Batch, b: Batch) -> None:
    assert a.x_l is not None
    assert b.x_l is not None
    for mine, other in ((a.x_h, b.x_h), (a.x_l, b.x_l), (a.label, b.label)):
        assert torch.equal(mine, other)


def test_colours_by_a_plain_form() -> None:
    batch = batch_of_pictures()
    drawn = draw(np.random.default_rng(1), 4, (12, 8))._replace(box=UNCHANGED.box)
    found = augmentation().apply(batch, drawn)
    luma = np.array([0.299, 0.587, 0.114])
    for i in range(4):
        pixels = (batch.x_h[i] * STD + MEAN).movedim(0, -1).double().numpy()
        changed = pixels @ drawn.colour[i].T
        grey = (changed @ luma).mean()
        changed = np.clip(grey + drawn.contrast[i] * (changed - grey), 0, 1)
        np.testing.assert_allclose((found.x_h[i] * STD + MEAN).movedim(0, -1), changed, atol=1e-6)
    assert torch.equal(found.label, batch.label)
    assert found.x_h.is_contiguous(memory_format=torch.channels_last)


def test_a_colour_is_gain_then_saturation_then_brightness() -> None:
    """Saturation leaves the grey of a picture as it is, so that what white becomes tells gain and brightness."""
    drawn = draw(np.random.default_rng(2), 1000, (256, 128))
    brightness = drawn.colour.sum(axis=2) @ np.array([0.299, 0.587, 0.114])
    assert 0.6 < brightness.min() < 0.75
    assert 1.25 < brightness.max() < 1.45
    assert 0.7 <= drawn.contrast.min() < 0.71
    assert 1.29 < drawn.contrast.max() <= 1.3


def test_rectangles_are_of_another_picture_at_the_same_place() -> None:
    batch = batch_of_pictures()
    box = np.zeros((4, 4), dtype=np.int64)
    box[2] = (3, 9, 1, 5)
    found = augmentation().apply(batch, UNCHANGED._replace(box=box))
    assert found.label.tolist() == [0, 1, NO_IDENTITY, 3]
    expected = batch.x_h.clone()
    expected[2, :, 3:9, 1:5] = batch.x_h[3, :, 3:9, 1:5]
    for x in (found.x_h, found.x_l):
        assert x is not None
        torch.testing.assert_close(x, expected, atol=1e-6, rtol=0)


def test_what_is_drawn_has_its_shares() -> None:
    drawn = draw(np.random.default_rng(3), 2000, (256, 128))
    lengths = drawn.box[:, [1, 3]] - drawn.box[:, [0, 2]]
    has_one = lengths[:, 0] > 0
    assert 0.45 < has_one.mean() < 0.55
    shares = lengths[has_one].prod(axis=1) / (256 * 128)
    assert 0.09 < shares.min() < 0.12
    assert 0.35 < shares.max() < 0.41
    assert (drawn.box >= 0).all()
    assert (drawn.box[:, :2] <= 256).all()
    assert (drawn.box[:, 2:] <= 128).all()
    assert (drawn.donor != np.arange(2000)).all()


def test_a_picture_alone_has_no_other() -> None:
    drawn = draw(np.random.default_rng(0), 1, (12, 8))
    assert not drawn.box.any()


def test_both_pictures_of_a_pair_get_the_same() -> None:
    found = augmentation()(batch_of_pictures())
    assert found.x_l is not None
    assert torch.equal(found.x_h, found.x_l)
    assert not torch.equal(found.x_h, batch_of_pictures().x_h)


def test_the_batch_itself_stays_and_its_view_is_no_longer_known() -> None:
    batch = batch_of_pictures()
    found = augmentation()(batch)
    assert_equal(batch, batch_of_pictures())
    assert found.view is None
    assert found.view_on_host is None
    assert found.next_position == batch.next_position


@pytest.mark.parametrize("other", ["seed", "rank", "epoch", "step"])
def test_each_place_has_a_draw_of_its_own(other: str) -> None:
    batch = batch_of_pictures()
    found = augmentation()(batch)
    assert_equal(found, augmentation()(batch))
    if other in ("epoch", "step"):
        position = batch.next_position._replace(**{other: 4})
        another = augmentation()(replace(batch, next_position=position))
    else:
        another = augmentation(**{other: 1})(batch)
    assert not torch.equal(found.x_h, another.x_h)


def loader_of(folder: Path, rank: int = 0, world_size: int = 1) -> TrainLoader:
    paths = [folder / f"{number}.png" for number in range(8)]
    config = DataConfig(height=12, width=8, backend="pillow", threads=0)
    loader = build_loader(paths, range(8), config, batch_size=2, rank=rank, world_size=world_size, seed=4, device=CPU)
    return with_strong_augmentation(loader, CPU)


def test_a_resumed_order_draws_what_an_unbroken_one_draws(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
    batches = loader_of(tmp_path).iterate(Position(0, 0))
    unbroken = [next(batches) for _ in range(6)]
    batches.close()
    assert len({tuple(batch.label.tolist()) for batch in unbroken}) > 1
    resumed = loader_of(tmp_path).iterate(unbroken[2].next_position)
    for batch in unbroken[3:]:
        assert_equal(batch, next(resumed))
    resumed.close()


def test_closing_reaches_the_readers() -> None:
    closed = []

    def read(plans: object) -> object:
        try:
            while True:
                yield batch_of_pictures()
        finally:
            closed.append(True)

    loader = build_loader([Path("x")] * 4, range(4), DataConfig(backend="pillow"), batch_size=4, seed=0, device=CPU)
    batches = with_strong_augmentation(replace(loader, read=read), CPU).iterate(Position(0, 0))  # type: ignore[arg-type]
    next(batches)
    batches.close()
    assert closed
