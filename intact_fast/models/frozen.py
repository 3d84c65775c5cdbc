"""A second, frozen face of a module that shares its storage."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def frozen_view(module: ModuleT, train_mode: bool = False) -> ModuleT:
    """Return a second module over the same parameter and buffer storage.

    Its parameters have ``requires_grad=False`` and its train/eval mode is its own, so a network can
    be trained by its own update and serve as a frozen critic in another without toggling either
    flag. It follows in-place updates (optimisers, running statistics, ``load_state_dict``), so make
    it after ``module`` is on its final device: ``module.to(...)`` may give the module new storage.

    Args:
        module: The network to look at.
        train_mode: Mode of the view; False is eval.
    """
    memo: dict[int, object] = {}
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False)
    for tensor in module.buffers():
        memo[id(tensor)] = tensor
    view = copy.deepcopy(module, memo)
    return view.train(train_mode)
