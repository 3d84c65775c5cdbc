"""Running means and variances of batch normalisation, as PyTorch updates them."""

from __future__ import annotations

import torch
from torch import Tensor


def running_variance(biased: Tensor, count: int) -> Tensor:
    """The unbiased variance, which running statistics hold, from the biased one of ``count`` values."""
    return biased * (count / max(count - 1, 1))


@torch.no_grad()
def update_running_statistics(running: list[Tensor], batch: list[Tensor], momentum: float) -> None:
    """Move running statistics towards those of the batch, all of them in one launch.

    Args:
        running: Tensors to update in place.
        batch: As many of the same shapes.
        momentum: Weight of the batch.
    """
    torch._foreach_lerp_(running, [new.to(old.dtype) for old, new in zip(running, batch, strict=True)], momentum)
