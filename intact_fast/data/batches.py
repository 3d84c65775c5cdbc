"""Batches of training pictures, as a loader hands them over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intact_fast.config.options import Interpolation
from intact_fast.data.plan import BatchPlan, Position

NO_IDENTITY = -1
"""Label of a picture that shows nobody in particular: `losses.identity_loss` leaves it out."""


@dataclass(frozen=True)
class PictureSpec:
    """Preparation of a training picture.

    Attributes:
        size: (height, width) of the network inputs in pixels.
        interpolation: Filter of every resize.
        jpeg_quality: Quality of the LR picture's compression; None leaves it out.
        pad: Padding in pixels.
        with_lr: Whether to make the LR picture at all.
    """

    size: tuple[int, int]
    interpolation: Interpolation
    jpeg_quality: int | None
    pad: int
    with_lr: bool


@dataclass
class Batch:
    """A batch of B training pictures; every tensor is on the training device and owns its memory.

    Attributes:
        x_h: HR pictures, B×3×H×W float32, ImageNet-normalised, channels innermost in memory.
        x_l: Their degraded form, aligned with ``x_h``; None where only HR was asked for.
        label: B int64, class of each picture, or `NO_IDENTITY`.
        r: B int64, down-sampling rate of each picture; float32 where rates are drawn continuously.
        index: B int64, its row among the training pictures.
        next_position: Where an interrupted training goes on after this batch.
        view: B int64, 2·index + 1 where the picture is mirrored, else 2·index; None where it is not known.
        view_on_host: The same on the host.
    """

    x_h: Tensor
    x_l: Tensor | None
    label: Tensor
    r: Tensor
    index: Tensor
    next_position: Position
    view: Tensor | None = None
    view_on_host: NDArray[np.int64] | None = None


def assemble(x_h: Tensor, x_l: Tensor | None, plan: BatchPlan, labels: Sequence[int], device: torch.device) -> Batch:
    """Join pictures that are already on ``device`` with the rest of their plan."""
    label_on_host = np.array([labels[i] for i in plan.index], dtype=np.int64)
    view_on_host = 2 * plan.index + plan.flip
    numbers = torch.from_numpy(np.stack([label_on_host, plan.index, view_on_host]))
    label, index, view = numbers.to(device, non_blocking=True).unbind()
    r = torch.from_numpy(plan.r.copy()).to(device, non_blocking=True)
    return Batch(x_h, x_l, label, r, index, plan.next_position, view, view_on_host)
