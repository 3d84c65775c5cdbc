"""The table of f_c: the frozen critic's feature of every training picture, computed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from intact_fast.data.batches import Batch


class FeatureTable:
    """f_c(x_h) by picture and mirroring, filled as batches come.

    A batch that is known as a whole is looked up; any other is computed and stored. What is known is kept on the host,
    which therefore never waits for the device. A table starts empty with every process, so that a resumed training
    computes again what an unbroken one looks up.

    Args:
        pictures: Training pictures.
        dim: Dimension of f_c.
        device: Where the features lie.
    """

    def __init__(self, pictures: int, dim: int, device: torch.device) -> None:
        self._features = torch.zeros(2 * pictures, dim, device=device)
        self._known = np.zeros(2 * pictures, dtype=bool)

    def features(self, batch: Batch, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """f_c of a batch's HR pictures: B×dim float32.

        Args:
            batch: The batch.
            compute: Maps B×3×H×W to B×dim.
        """
        if batch.view is None:
            return compute(batch.x_h)
        if self.knows(batch):
            return self._features[batch.view]
        f_c = compute(batch.x_h)
        self._features[batch.view] = f_c
        self.remember(batch)
        return f_c

    def knows(self, batch: Batch) -> bool:
        """Whether all of a batch's features are stored."""
        return batch.view_on_host is not None and bool(self._known[batch.view_on_host].all())

    def remember(self, batch: Batch) -> None:
        """Count a batch's features as stored; `features` does, but not where it was replayed from a graph."""
        if batch.view_on_host is not None:
            self._known[batch.view_on_host] = True
