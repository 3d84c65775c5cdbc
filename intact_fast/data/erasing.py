"""Random erasing of loaded pictures, on the training device (Zhong et al., AAAI 2020).

A rectangle takes ImageNet's mean colour, which is zero in a normalised picture (the paper's RE-M). What is drawn
depends on the seed and on the place in the global order: a resumed training draws what an unbroken one does, and
several processes draw what one with all their pictures does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from intact_fast.data.augmentation import inside_boxes, with_change
from intact_fast.data.batches import Batch
from intact_fast.data.loader import TrainLoader
from intact_fast.data.plan import Schedule

_STREAM = 22
"""Key of the random stream; those of the plan are counted from 0."""
_AREA = (0.02, 0.4)
"""Of a rectangle, as a share of the picture."""
_ASPECT = (0.3, 1 / 0.3)
"""Height of a rectangle by its width."""
_ATTEMPTS = 20
"""How many rectangles are drawn for each picture; the first that fits is taken."""


def draw_boxes(rng: np.random.Generator, count: int, size: tuple[int, int], share: float) -> NDArray[np.int64]:
    """Draw rectangles.

    Args:
        rng: Of all that is drawn here.
        count: Number of pictures.
        size: (height, width) of each.
        share: Probability of a rectangle.

    Returns:
        B×4: its first row, the row after it, its first column, the column after it; all 0 for no rectangle.
    """
    area = rng.uniform(*_AREA, size=(count, _ATTEMPTS)) * size[0] * size[1]
    aspect = rng.uniform(*_ASPECT, size=(count, _ATTEMPTS))
    drawn = np.rint(np.sqrt(np.stack([area * aspect, area / aspect], axis=2))).astype(np.int64)
    fits = np.all((drawn >= 1) & (drawn < np.array(size)), axis=2)
    lengths = drawn[np.arange(count), fits.argmax(axis=1)]
    first = np.floor(rng.uniform(size=(count, 2)) * (size - lengths + 1)).astype(np.int64)
    box = np.stack([first, first + lengths], axis=2).reshape(count, 4)
    box[(rng.uniform(size=count) >= share) | ~fits.any(axis=1)] = 0
    return box


class RandomErasing:
    """Changes batches as they come.

    Args:
        share: Of the pictures that lose a rectangle.
        schedule: The loader's order, and this process's part of it.
    """

    def __init__(self, share: float, schedule: Schedule) -> None:
        self._share, self._schedule = share, schedule

    def __call__(self, batch: Batch) -> Batch:
        """Erase a rectangle, the same one from both pictures of a pair."""
        plan, (epoch, step) = self._schedule, batch.next_position
        rng = np.random.default_rng(np.random.SeedSequence([plan.seed, epoch], spawn_key=(_STREAM, step)))
        size = batch.x_h.shape[2], batch.x_h.shape[3]
        boxes = draw_boxes(rng, plan.batch_size * plan.world_size, size, self._share)
        own = torch.from_numpy(boxes[plan.rank * plan.batch_size :][: plan.batch_size])
        inside = inside_boxes(own.to(batch.x_h.device, non_blocking=True), size)[:, None]
        # a copy keeps the channels innermost in memory, masked_fill does not
        x_h, x_l = (None if x is None else x.clone().masked_fill_(inside, 0.0) for x in (batch.x_h, batch.x_l))
        assert x_h is not None
        # f_c of such a picture is not that of its view
        return replace(batch, x_h=x_h, x_l=x_l, view=None, view_on_host=None)


def with_random_erasing(loader: TrainLoader, share: float) -> TrainLoader:
    """A loader of the same order whose pictures lose rectangles."""
    return with_change(loader, RandomErasing(share, loader.schedule))
