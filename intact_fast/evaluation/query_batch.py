"""One batch of queries as the rows of a table want it: each network sees each picture once, whatever the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.errors import UserError
from intact_fast.evaluation.picture_source import PictureBatch, Variant
from intact_fast.evaluation.views import QueryView
from intact_fast.serving.sr_reid import SRReID


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
        self._features: dict[tuple[Variant, bool], Tensor] = {}

    def pictures(self, view: QueryView) -> Tensor:
        """Give what C, or C_q, sees: N×3×H×W on the model's device.

        Raises:
            UserError: G gives NaN.
        """
        prepared = self._batch.pictures[view.variant]
        if not view.served:
            return prepared
        if view.variant not in self._generated:
            self._generated[view.variant] = _finite(self._model.generate(prepared))
        return self._generated[view.variant]

    def features(self, view: QueryView) -> Tensor:
        """Compute f_c of one row's queries: N×512 float32 on the model's device.

        Raises:
            UserError: G gives NaN.
        """
        wanted = view.variant, view.served
        if wanted not in self._features:
            critic = self._model.embed_queries if view.served else self._model.embed
            self._features[wanted] = critic(self.pictures(view))
        return self._features[wanted]


def _finite(generated: Tensor) -> Tensor:
    if torch.isnan(generated).any():
        raise UserError("G gives NaN: its training has diverged; try a lower --optimiser.generator-learning-rate")
    return generated
