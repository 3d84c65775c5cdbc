"""Moving averages of networks over a training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Average:
    """A moving average of some tensors; of none where there are none.

    Args:
        average: What is moved, in place.
        source: Towards these.
        decay: Share of the average that an iteration keeps.
    """

    def __init__(self, average: Sequence[Tensor], source: Sequence[Tensor], decay: float) -> None:
        self._average, self._source, self._step = list(average), list(source), 1.0 - decay

    @torch.no_grad()
    def move(self) -> None:
        """Move by one iteration."""
        if self._average:
            torch._foreach_lerp_(self._average, self._source, self._step)


def averaged_copy(network: ModuleT, decay: float) -> tuple[ModuleT, Average]:
    """Copy a network, in eval mode, and what lets the copy follow it: parameters and running statistics.

    Statistics go with the parameters that they were taken at. Counters of batches are not averaged.
    """
    average = copy.deepcopy(network).requires_grad_(False).eval()
    return average, Average(_averaged_state(average), _averaged_state(network), decay)


def _averaged_state(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
