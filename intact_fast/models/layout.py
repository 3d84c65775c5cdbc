"""Where a network's tensors lie, and in which order."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def channels_last(network: ModuleT, device: torch.device | None = None) -> ModuleT:
    """Lay a network's pictures and filters out channels innermost, in place, as convolutions are fastest.

    Args:
        network: Any network; vectors and matrices stay as they are.
        device: Where to move it as well.
    """
    # PyTorch's own types leave out this form of `to`
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
