"""Strong augmentation of loaded pairs, on the training device: colours, and rectangles of other pictures.

Both pictures of a pair get the same. What is drawn depends on the seed, the position in the order and the process, so
that a resumed training draws what an unbroken one does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intact_fast.data.batches import NO_IDENTITY, Batch
from intact_fast.data.loader import TrainLoader
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.data.plan import BatchPlan

_STREAM = 21
"""Key of the random stream; those of the plan are counted from 0."""
_BRIGHTNESS = _CONTRAST = (0.7, 1.3)
_SATURATION = (0.6, 1.4)
_GAIN = (0.9, 1.1)
_LUMA = np.array([0.299, 0.587, 0.114])
"""Grey of an RGB pixel (ITU-R BT.601), as Pillow's."""
_PASTED = 0.5
"""Share of the pictures that get a rectangle."""
_AREA = (0.1, 0.4)
"""Of a rectangle, as a share of the picture."""
_ASPECT = 2.0
"""How much taller or wider than the picture a rectangle may be in shape."""


class Draw(NamedTuple):
    """What is drawn for B pictures, on the host."""

    colour: NDArray[np.float64]
    """B×3×3, maps RGB from 0 to 1: gains of the channels, saturation, brightness."""
    contrast: NDArray[np.float64]
    """B, about the picture's mean grey after that."""
    donor: NDArray[np.int64]
    """B, which other picture of the batch the rectangle is from."""
    box: NDArray[np.int64]
    """B×4, its first row, the row after it, its first column, the column after it; all 0 for no rectangle."""


def draw(rng: np.random.Generator, count: int, size: tuple[int, int]) -> Draw:
    """Draw for ``count`` pictures of (height, width) ``size``."""
    gains = rng.uniform(*_GAIN, size=(count, 3))
    saturation, brightness, contrast = (
        rng.uniform(*bounds, size=count) for bounds in (_SATURATION, _BRIGHTNESS, _CONTRAST)
    )
    grey = np.tile(_LUMA, (3, 1))
    mixing = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * grey
    colour = brightness[:, None, None] * mixing * gains[:, None, :]
    donor = (np.arange(count) + rng.integers(1, count, size=count)) % count if count > 1 else np.zeros(count, int)
    area, aspect = rng.uniform(*_AREA, size=count), _ASPECT ** rng.uniform(-1, 1, size=count)
    shares = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1)
    lengths = np.maximum(np.rint(shares * size), 1).astype(np.int64)
    first = np.floor(rng.uniform(size=(count, 2)) * (size - lengths + 1)).astype(np.int64)
    box = np.stack([first, first + lengths], axis=2).reshape(count, 4)
    box[(rng.uniform(size=count) >= _PASTED) | (count == 1)] = 0
    return Draw(colour, contrast, donor, box)


def inside_boxes(box: Tensor, size: tuple[int, int]) -> Tensor:
    """Tell the pixels inside of rectangles.

    Args:
        box: B×4 int64, as `Draw.box`.
        size: (height, width) of the pictures.

    Returns:
        B×height×width bool.
    """
    top, bottom, left, right = box[:, :, None].unbind(1)
    rows, columns = (torch.arange(length, device=box.device) for length in size)
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]


class StrongAugmentation:
    """Changes batches as they come.

    Args:
        seed: Of the loader's order.
        rank: This process: each draws its own.
        device: Where the batches are.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self._seed, self._rank = seed, rank
        self._mean, self._std, self._luma = (
            torch.tensor(value, dtype=torch.float32, device=device) for value in (IMAGENET_MEAN, IMAGENET_STD, _LUMA)
        )

    def __call__(self, batch: Batch) -> Batch:
        """Change a batch by what is drawn for it."""
        epoch, step = batch.next_position
        seed = np.random.SeedSequence([self._seed, epoch], spawn_key=(_STREAM, step, self._rank))
        count, _, height, width = batch.x_h.shape
        return self.apply(batch, draw(np.random.default_rng(seed), count, (height, width)))

    def apply(self, batch: Batch, drawn: Draw) -> Batch:
        """Shift colours, then paste rectangles; a picture with a rectangle of another one has no identity."""
        assert batch.x_l is not None, "strong augmentation is for pairs"
        count, _, height, width = batch.x_h.shape
        device = batch.x_h.device
        numbers = np.concatenate([drawn.colour.reshape(count, 9), drawn.contrast[:, None]], axis=1)
        shades = torch.from_numpy(numbers.astype(np.float32)).to(device, non_blocking=True)
        places = torch.from_numpy(np.column_stack([drawn.donor, drawn.box])).to(device, non_blocking=True)
        colour, contrast = shades[:, :9].view(count, 3, 3), shades[:, 9:]
        donor, top, bottom, _, _ = places.unbind(1)
        inside = inside_boxes(places[:, 1:], (height, width))
        # one grey for both: the LR picture's own is another one by rounding
        grey = torch.einsum("bij,bj->bi", colour, batch.x_h.mean(dim=(2, 3)) * self._std + self._mean)
        grey = (1 - contrast) * (grey * self._luma).sum(dim=1, keepdim=True)

        def changed(x: Tensor) -> Tensor:
            pixels = x.movedim(1, -1) * self._std + self._mean
            shifted = torch.baddbmm(
                grey[:, None].expand(-1, 1, 3), pixels.flatten(1, 2), (contrast[:, :, None] * colour).mT
            )
            pixels = (shifted.clamp(0, 1).view(count, height, width, 3) - self._mean) / self._std
            return torch.where(inside[..., None], pixels[donor], pixels).movedim(-1, 1)

        label = batch.label.masked_fill(bottom > top, NO_IDENTITY)
        # f_c of such a picture is not that of its view
        return replace(batch, x_h=changed(batch.x_h), x_l=changed(batch.x_l), label=label, view=None, view_on_host=None)


def with_strong_augmentation(loader: TrainLoader, device: torch.device) -> TrainLoader:
    """A loader of the same order whose batches are augmented on ``device``, where they are."""
    return with_change(loader, StrongAugmentation(loader.schedule.seed, loader.schedule.rank, device))


def with_change(loader: TrainLoader, change: Callable[[Batch], Batch]) -> TrainLoader:
    """A loader of the same order whose batches are changed as they come."""

    def read(plans: Iterator[BatchPlan]) -> Iterator[Batch]:
        # closing this one ends the workers of that one
        with closing(cast(Generator[Batch, None, None], loader.read(plans))) as batches:
            yield from map(change, batches)

    return replace(loader, read=read)
