"""Random erasing: a function of seed and place in the order, whatever the number of processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import write_picture
from intact_fast.config.options import DataConfig
from intact_fast.data.batches import Batch
from intact_fast.data.erasing import RandomErasing, draw_boxes, with_random_erasing
from intact_fast.data.loader import TrainLoader, build_loader
from intact_fast.data.plan import Position, Schedule

CPU = torch.device("cpu")
SIZE = (24, 16)


def schedule_of(batch_size: int = 6, rank: int = 0, world_size: int = 1, seed: int = 5) -> Schedule:
    return Schedule(24, batch_size, rank, world_size, seed, factors=(2,), flip=True, pad=0)


def batch_of_pictures(count: int = 6) -> Batch:
    """Pictures without a zero, with the channels innermost in memory, as loaders give them."""
    x = torch.rand(count, *SIZE, 3, generator=torch.Generator().manual_seed(0)).movedim(-1, 1) + 1
    label = torch.arange(count)
    return Batch(x, x * 2, label, label, label, Position(3, 2), label * 2, label.numpy() * 2)


def erased(x: Tensor) -> Tensor:
    return (x == 0).all(dim=1)


def test_a_rectangle_goes_from_both_pictures_of_a_pair() -> None:
    batch = batch_of_pictures()
    found = RandomErasing(1.0, schedule_of())(batch)
    gone = erased(found.x_h)
    assert found.x_l is not None
    assert torch.equal(gone, erased(found.x_l))
    for picture in gone:
        rows, columns = picture.any(dim=1).nonzero(), picture.any(dim=0).nonzero()
        box = picture[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        assert box.all()
        assert box.sum() == picture.sum() > 0
    assert torch.equal(found.x_h, batch.x_h.masked_fill(gone[:, None], 0))
    assert found.x_h.is_contiguous(memory_format=torch.channels_last)
    # the person is still to be told
    assert torch.equal(found.label, batch.label)
    assert found.view is None
    assert torch.equal(batch.x_h, batch_of_pictures().x_h)


def test_hr_pictures_alone() -> None:
    found = RandomErasing(1.0, schedule_of())(replace(batch_of_pictures(), x_l=None))
    assert found.x_l is None
    assert erased(found.x_h).flatten(1).any(dim=1).all()


def test_what_is_drawn_has_its_shares() -> None:
    box = draw_boxes(np.random.default_rng(3), 4000, (256, 128), share=0.5)
    lengths = box[:, [1, 3]] - box[:, [0, 2]]
    lengths = lengths[lengths[:, 0] > 0]
    assert 0.47 < len(lengths) / 4000 < 0.53
    area, aspect = lengths.prod(axis=1) / (256 * 128), lengths[:, 0] / lengths[:, 1]
    assert 0.019 < area.min() < 0.03
    assert 0.37 < area.max() < 0.41
    assert 0.29 < aspect.min() < 0.35
    assert 3.1 < aspect.max() < 3.45
    assert (box >= 0).all()
    assert (box <= (256, 256, 128, 128)).all()
    # at the borders, too
    assert (box[:, 0][box[:, 1] > 0] == 0).any()
    assert (box[:, 1] == 256).any()
    assert (box[:, 3] == 128).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 40), (40, 2)])
def test_a_picture_too_small_for_a_rectangle_stays_whole(size: tuple[int, int]) -> None:
    box = draw_boxes(np.random.default_rng(0), 50, size, share=1.0)
    lengths = box[:, [1, 3]] - box[:, [0, 2]]
    assert ((lengths > 0).all(axis=1) | (lengths == 0).all(axis=1)).all()
    assert (lengths < size).all()


def test_no_share_erases_nothing() -> None:
    assert not draw_boxes(np.random.default_rng(0), 100, SIZE, share=0.0).any()


def test_two_processes_erase_what_one_does() -> None:
    whole = RandomErasing(0.7, schedule_of(6))(batch_of_pictures())
    parts = []
    for rank in range(2):
        part = slice(3 * rank, 3 * rank + 3)
        batch = batch_of_pictures()
        assert batch.x_l is not None
        batch = replace(batch, x_h=batch.x_h[part], x_l=batch.x_l[part], label=batch.label[part])
        parts.append(RandomErasing(0.7, schedule_of(3, rank, 2))(batch).x_h)
    assert torch.equal(whole.x_h, torch.cat(parts))


@pytest.mark.parametrize("other", ["seed", "epoch", "step"])
def test_each_place_has_a_draw_of_its_own(other: str) -> None:
    batch = batch_of_pictures()
    found = RandomErasing(0.5, schedule_of())(batch)
    if other == "seed":
        another = RandomErasing(0.5, schedule_of(seed=6))(batch)
    else:
        another = RandomErasing(0.5, schedule_of())(
            replace(batch, next_position=batch.next_position._replace(**{other: 1}))
        )
    assert not torch.equal(found.x_h, another.x_h)


def loader_of(folder: Path) -> TrainLoader:
    paths = [folder / f"{number}.png" for number in range(8)]
    config = DataConfig(height=24, width=16, backend="pillow", threads=0)
    return with_random_erasing(build_loader(paths, range(8), config, batch_size=2, seed=4, device=CPU), 0.5)


def test_a_resumed_order_erases_what_an_unbroken_one_erases(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
    batches = loader_of(tmp_path).iterate(Position(0, 0))
    unbroken = [next(batches) for _ in range(6)]
    batches.close()
    assert 0 < sum(int(erased(batch.x_h).flatten(1).any(dim=1).sum()) for batch in unbroken) < 12
    resumed = loader_of(tmp_path).iterate(unbroken[2].next_position)
    for batch in unbroken[3:]:
        assert torch.equal(batch.x_h, next(resumed).x_h)
    resumed.close()
