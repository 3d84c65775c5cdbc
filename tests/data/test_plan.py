from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact_fast.data.plan import EpochPlan, Position, Schedule, epoch_plan
from intact_fast.errors import UserError


def draw(
    num_images: int = 600, seed: int = 1, epoch: int = 0, flip: bool = True, pad: int = 4, **options: bool
) -> EpochPlan:
    return epoch_plan(num_images, seed=seed, epoch=epoch, factors=(2, 3, 4), flip=flip, pad=pad, **options)


def schedule(num_images: int = 50, batch_size: int = 4, rank: int = 0, world_size: int = 1, seed: int = 3) -> Schedule:
    return Schedule(num_images, batch_size, rank, world_size, seed, (2, 3, 4), True, 2)


def assert_same_plan(a: EpochPlan, b: EpochPlan) -> None:
    for name in ("index", "r", "flip", "shift"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_an_epoch_holds_every_picture_once() -> None:
    np.testing.assert_array_equal(np.sort(draw().index), np.arange(600))


def test_plan_depends_on_seed_and_epoch_alone() -> None:
    assert_same_plan(draw(), draw())
    assert not np.array_equal(draw().index, draw(epoch=1).index)
    assert not np.array_equal(draw().index, draw(seed=2).index)
    assert not np.array_equal(draw(seed=1, epoch=0).index, draw(seed=0, epoch=1).index)


def test_rates_flips_and_shifts_are_uniform() -> None:
    plan = draw(num_images=6000)
    assert [round(np.mean(plan.r == r), 1) for r in (2, 3, 4)] == [0.3, 0.3, 0.3]
    assert 0.47 < plan.flip.mean() < 0.53
    values, counts = np.unique(plan.shift, return_counts=True)
    assert values.tolist() == list(range(9))
    assert counts.min() > 0.85 * counts.max()


def test_switching_augmentation_off_leaves_order_and_rates() -> None:
    plain, augmented = draw(flip=False, pad=0), draw()
    assert not plain.flip.any()
    assert not plain.shift.any()
    np.testing.assert_array_equal(plain.index, augmented.index)
    np.testing.assert_array_equal(plain.r, augmented.r)


def test_the_listed_rates_are_what_they_were() -> None:
    """Runs that stand resume, whatever has a random stream since."""
    order, rate, mirror, offset = map(np.random.default_rng, np.random.SeedSequence([1, 0]).spawn(4))
    expected = EpochPlan(
        order.permutation(600),
        np.array([2, 3, 4])[rate.integers(3, size=600)],
        mirror.integers(2, size=600).astype(bool),
        offset.integers(9, size=(600, 2)),
    )
    assert_same_plan(draw(), expected)
    assert draw().r.dtype == np.int64
    assert draw().corruption is None


def test_continuous_rates_are_uniform_and_change_nothing_else() -> None:
    listed, plan = draw(), draw(continuous=True)
    assert plan.r.dtype == np.float32
    assert 2 <= plan.r.min() < 2.05
    assert 3.95 < plan.r.max() <= 4
    assert len(np.unique(plan.r)) > 590
    assert plan.r.mean() == pytest.approx(3, abs=0.1)
    assert_same_plan(replace(plan, r=listed.r), listed)


def test_corruptions_have_a_stream_of_their_own() -> None:
    plain, plan = draw(continuous=True), draw(continuous=True, corrupted=1.0)
    assert_same_plan(plan, plain)
    assert plan.corruption is not None
    assert len(np.unique(plan.corruption)) == 600
    np.testing.assert_array_equal(plan.corruption, draw(continuous=True, corrupted=1.0).corruption)
    assert not np.array_equal(plan.corruption, draw(continuous=True, corrupted=1.0, epoch=1).corruption)


def test_a_share_of_the_pictures_stays_clean() -> None:
    """And nothing else changes: the others are corrupted as they were."""
    whole, part = (draw(continuous=True, corrupted=share) for share in (1.0, 0.25))
    assert_same_plan(part, whole)
    assert whole.corruption is not None
    assert part.corruption is not None
    kept = part.corruption >= 0
    assert kept.mean() == pytest.approx(0.25, abs=0.05)
    np.testing.assert_array_equal(part.corruption[kept], whole.corruption[kept])
    assert set(part.corruption[~kept]) == {-1}


def test_ranks_share_corruptions() -> None:
    def first(rank: int, world_size: int, batch_size: int) -> np.ndarray:
        whole = Schedule(50, batch_size, rank, world_size, 3, (2, 3, 4), True, 2, continuous=True, corrupted=1.0)
        plan = next(whole.plans(Position(1, 2)))
        assert plan.corruption is not None
        return plan.corruption

    np.testing.assert_array_equal(first(0, 1, 8), np.concatenate([first(0, 2, 4), first(1, 2, 4)]))


@settings(deadline=None)
@given(
    num_images=st.integers(12, 60),
    batch_size=st.integers(1, 3),
    world_size=st.integers(1, 4),
    steps=st.integers(1, 70),
)
def test_ranks_together_see_what_one_process_sees(
    num_images: int, batch_size: int, world_size: int, steps: int
) -> None:
    ranks = [schedule(num_images, batch_size, rank, world_size).plans(Position(0, 0)) for rank in range(world_size)]
    alone = schedule(num_images, batch_size * world_size).plans(Position(0, 0))
    for whole, *parts in islice(zip(alone, *ranks, strict=True), steps):
        joined = EpochPlan(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("index", "r", "flip", "shift")))
        assert_same_plan(whole, joined)
        assert {part.next_position for part in parts} == {whole.next_position}


def test_any_position_resumes_the_unbroken_order() -> None:
    unbroken = list(islice(schedule().plans(Position(0, 0)), 30))
    for i, plan in enumerate(unbroken[:-1]):
        resumed = next(schedule().plans(plan.next_position))
        assert_same_plan(resumed, unbroken[i + 1])


def test_the_position_after_the_last_step_is_the_next_epoch() -> None:
    assert schedule().steps_per_epoch == 12
    positions = [plan.next_position for plan in islice(schedule().plans(Position(0, 10)), 3)]
    assert positions == [Position(0, 11), Position(1, 0), Position(1, 1)]
    assert_same_plan(next(schedule().plans(Position(0, 12))), next(schedule().plans(Position(1, 0))))


def test_too_few_pictures_for_a_global_batch() -> None:
    with pytest.raises(UserError, match=r"--training\.batch-size 4.*need 16 pictures.*has 15"):
        schedule(num_images=15, world_size=4)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="--seed -1"):
        draw(seed=-1)
