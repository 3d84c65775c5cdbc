"""One batch of queries as the rows of a table want it: each network sees each picture once, whatever the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.config.options import TestTime
from intact_fast.errors import UserError
from intact_fast.evaluation.picture_source import PictureBatch, Variant
from intact_fast.evaluation.views import QueryView
from intact_fast.serving.sr_reid import SRReID

Shift = tuple[float, float]
"""Down and to the right, in pixels of the picture before it was brought to the networks' size."""

SHIFTS: tuple[Shift, ...] = ((0.0, 0.0), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5))
"""The five of the test-time option."""


@dataclass(frozen=True)
class Change:
    """What is done with a prepared picture before a network sees it: a shift, then a mirror image."""

    mirrored: bool = False
    shift: Shift = SHIFTS[0]


UNCHANGED = Change()


def changes_of(options: Sequence[TestTime]) -> list[Change]:
    """Give the changes whose features are averaged, the picture as it is first."""
    shifts = SHIFTS if "shifts" in options else SHIFTS[:1]
    mirrored = (False, True) if "flip" in options else (False,)
    return [Change(mirror, shift) for mirror in mirrored for shift in shifts]


class QueryBatch:
    """Pictures and features of one batch, computed where they are first asked for.

    Args:
        model: The networks.
        batch: Every variant that a row wants.
    """

    def __init__(self, model: SRReID, batch: PictureBatch) -> None:
        self._model = model
        self._batch = batch
        self._generated: dict[Variant, Tensor] = {}
        self._features: dict[tuple[Variant, bool, Change], Tensor] = {}

    def pictures(self, view: QueryView) -> Tensor:
        """Give what C, or C_q, sees before any test-time change: N×3×H×W on the model's device.

        Raises:
            UserError: G gives NaN or infinity.
        """
        return self._shown(view.variant, view.served, UNCHANGED)

    def features(self, view: QueryView) -> Tensor:
        """Compute f_c of one row's queries: N×512 float32 on the model's device.

        Raises:
            UserError: G gives NaN or infinity.
        """
        changes = changes_of(view.test_time)
        served = self._mean(view.variant, view.served, changes)
        if "plain" not in view.test_time:
            return served
        return mean_direction(served, self._mean(view.variant, False, changes))

    def _mean(self, variant: Variant, served: bool, changes: Sequence[Change]) -> Tensor:
        found = [self._of_change(variant, served, change) for change in changes]
        return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)

    def _of_change(self, variant: Variant, served: bool, change: Change) -> Tensor:
        wanted = variant, served, change
        if wanted not in self._features:
            critic = self._model.embed_queries if served else self._model.embed
            self._features[wanted] = critic(self._shown(*wanted))
        return self._features[wanted]

    def _shown(self, variant: Variant, served: bool, change: Change) -> Tensor:
        if change != UNCHANGED:
            prepared = changed(self._batch.pictures[variant], self._batch.sizes[variant], change)
            return self._model.generate(prepared) if served else prepared
        if not served:
            return self._batch.pictures[variant]
        # kept for the picture quality, too; changed pictures are wanted once
        if variant not in self._generated:
            self._generated[variant] = _finite(self._model.generate(self._batch.pictures[variant]))
        return self._generated[variant]


def changed(pictures: Tensor, sizes: Sequence[tuple[int, int]], change: Change) -> Tensor:
    """Shift and mirror prepared pictures, interpolating bilinearly; edges are repeated outwards.

    Args:
        pictures: N×3×H×W float32.
        sizes: (height, width) of each before it was brought to H×W, whose pixels the shift counts.
        change: What to do.

    Returns:
        N×3×H×W float32.
    """
    down, right = change.shift
    if down or right:
        # positions run from -1 to 1, over as many pixels as a picture had
        native = torch.tensor(sizes, dtype=torch.float32, device=pictures.device)
        move = torch.eye(2, 3, device=pictures.device).repeat(len(pictures), 1, 1)
        move[:, 0, 2] = -2 * right / native[:, 1]
        move[:, 1, 2] = -2 * down / native[:, 0]
        grid = F.affine_grid(move, list(pictures.shape), align_corners=False)
        pictures = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if change.mirrored:
        pictures = pictures.flip(3)
    return pictures.contiguous(memory_format=torch.channels_last)


def mean_direction(a: Tensor, b: Tensor) -> Tensor:
    """Average the directions of features (N×512 each), at the mean of their lengths.

    Features of two networks differ in length, and the longer one would outweigh the other. The length matters to the
    Euclidean distance alone, which compares it with the gallery's.
    """
    length = (a.norm(dim=1, keepdim=True) + b.norm(dim=1, keepdim=True)) / 2
    return length * F.normalize(F.normalize(a) + F.normalize(b))


def _finite(generated: Tensor) -> Tensor:
    if not generated.isfinite().all():
        raise UserError(
            "G gives NaN or infinity: its training has diverged; try a lower --optimiser.generator-learning-rate"
        )
    return generated
