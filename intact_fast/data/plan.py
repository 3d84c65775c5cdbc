"""The order and augmentation of training pictures: a pure function of seed, epoch and position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intact_fast.errors import UserError

Rates = NDArray[np.int64] | NDArray[np.float32]
"""Listed or continuous ones. The latter are in single precision, in which both loaders divide."""


class Position(NamedTuple):
    """A place in the endless order: the global batch ``step`` of ``epoch`` comes next."""

    epoch: int
    step: int


@dataclass(frozen=True)
class EpochPlan:
    """The order and augmentation of one epoch over all N pictures.

    Attributes:
        index: N int64, a permutation of the pictures.
        r: N int64, down-sampling rates; float32 where they are drawn continuously.
        flip: N bool, whether to mirror horizontally.
        shift: N×2 int64 in [0, 2·pad], top-left (y, x) of the crop in the padded picture.
        corruption: N int64, seeds of `blind.draw_corruption`, −1 of a picture that stays clean; None where nothing but
            the rate is drawn.
    """

    index: NDArray[np.int64]
    r: Rates
    flip: NDArray[np.bool_]
    shift: NDArray[np.int64]
    corruption: NDArray[np.int64] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class BatchPlan(EpochPlan):
    """One process's part of a global batch, and the position after that batch."""

    next_position: Position


def epoch_plan(
    num_images: int,
    *,
    seed: int,
    epoch: int,
    factors: Sequence[int],
    flip: bool,
    pad: int,
    continuous: bool = False,
    corrupted: float = 0.0,
) -> EpochPlan:
    """Draw one epoch.

    Order, rates, flips, shifts, corruptions and which pictures stay clean have random streams of their own: switching
    one off leaves the others as they were.

    Args:
        num_images: N.
        seed: At least 0.
        epoch: At least 0.
        factors: Rates to draw uniformly from.
        flip: Whether half of the pictures are mirrored.
        pad: Padding in pixels; 0 gives zero shifts.
        continuous: Whether rates are real numbers between the least and the greatest of ``factors``.
        corrupted: Share of the pictures that are corrupted.

    Raises:
        UserError: A negative seed.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: must be 0 or more")
    streams = np.random.SeedSequence([seed, epoch]).spawn(6)
    order, rate, mirror, offset, corruption, clean = (np.random.default_rng(stream) for stream in streams)
    return EpochPlan(
        index=order.permutation(num_images),
        r=_rates(rate, factors, num_images, continuous),
        flip=mirror.integers(2, size=num_images).astype(bool) & flip,
        shift=offset.integers(2 * pad + 1, size=(num_images, 2)),
        corruption=_corruptions(corruption, clean, corrupted, num_images) if corrupted > 0 else None,
    )


def _rates(rng: np.random.Generator, factors: Sequence[int], count: int, continuous: bool) -> Rates:
    if continuous:
        return rng.uniform(min(factors), max(factors), size=count).astype(np.float32)
    return np.asarray(factors, dtype=np.int64)[rng.integers(len(factors), size=count)]


def _corruptions(rng: np.random.Generator, clean: np.random.Generator, share: float, count: int) -> NDArray[np.int64]:
    return np.where(clean.random(count) < share, rng.integers(2**63, size=count), -1)


@dataclass(frozen=True)
class Schedule:
    """The batches of one process.

    Global batch k of an epoch is positions [k·B, (k+1)·B) of its plan, with B = batch_size·world_size. A rank
    takes its contiguous part: n processes see together what one process with n times the batch sees.
    The last partial global batch of an epoch is dropped.

    Attributes:
        num_images: Pictures of the training set.
        batch_size: Pictures per process and iteration.
        rank: This process.
        world_size: Processes.
        seed: As in `epoch_plan`, like the next three.
        factors: Rates.
        flip: Whether to mirror.
        pad: Padding in pixels.
        continuous: Whether rates are real numbers.
        corrupted: Share of the pictures that are corrupted.

    Raises:
        UserError: Fewer pictures than one global batch.
    """

    num_images: int
    batch_size: int
    rank: int
    world_size: int
    seed: int
    factors: tuple[int, ...]
    flip: bool
    pad: int
    continuous: bool = False
    corrupted: float = 0.0

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.world_size
        if self.batch_size < 1:
            raise UserError(f"--training.batch-size {self.batch_size}: must be 1 or more")
        if self.steps_per_epoch == 0:
            raise UserError(
                f"--training.batch-size {self.batch_size}: {self.world_size} process(es) need "
                f"{self.batch_size * self.world_size} pictures at once, the training set has {self.num_images}; "
                "lower it (--critic.batch-size for the critic)"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Global batches per epoch."""
        return self.num_images // (self.batch_size * self.world_size)

    def plans(self, start: Position) -> Iterator[BatchPlan]:
        """Yield this process's batches from a position on, without end."""
        epoch, step = start
        while True:
            plan = epoch_plan(
                self.num_images,
                seed=self.seed,
                epoch=epoch,
                factors=self.factors,
                flip=self.flip,
                pad=self.pad,
                continuous=self.continuous,
                corrupted=self.corrupted,
            )
            for k in range(step, self.steps_per_epoch):
                first = (k * self.world_size + self.rank) * self.batch_size
                part = slice(first, first + self.batch_size)
                is_last = k + 1 == self.steps_per_epoch
                following = Position(epoch + 1, 0) if is_last else Position(epoch, k + 1)
                yield BatchPlan(
                    plan.index[part],
                    plan.r[part],
                    plan.flip[part],
                    plan.shift[part],
                    following,
                    corruption=None if plan.corruption is None else plan.corruption[part],
                )
            epoch, step = epoch + 1, 0
