"""A second, frozen view of a module, which shares its storage."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def frozen_view(module: ModuleT) -> ModuleT:
    """Return a second module over the same parameter and buffer storage.

    Its parameters have ``requires_grad=False`` and its mode is its own (eval at first). So a network can be
    trained by its own update and serve as a frozen critic in another, and neither flag is toggled. The view
    follows in-place updates (optimisers, running statistics, ``load_state_dict``), so make
    it after ``module`` is on its final device: ``module.to(...)`` may give the module new storage.

    Args:
        module: The network to look at.
    """
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer
    return copy.deepcopy(module, memo).eval()
