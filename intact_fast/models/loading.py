"""Networks of a size that a file names: built only where the file holds their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def with_weights(build: Callable[[], ModuleT], state: Mapping[str, Tensor]) -> ModuleT:
    """Build a network with its weights, after a look at whether they fit.

    The look takes no memory: a few words of a file can ask for a network of a terabyte.

    Args:
        build: Makes the network, untrained.
        state: Its weights, by name.

    Raises:
        ValueError: No such network can be built, or the weights are not its own; says which one is not.
    """
    try:
        with torch.device("meta"):
            wanted = build().state_dict()
    # a size that is negative, or beyond what PyTorch counts
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"no network has such settings ({str(error).splitlines()[0]:.200})") from error
    for name, value in wanted.items():
        found = state.get(name)
        if found is None:
            raise ValueError(f"lacks {name}")
        if found.shape != value.shape:
            raise ValueError(f"{name} has the shape {tuple(found.shape)}, and should have {tuple(value.shape)}")
        is_dense = not found.is_meta and found.layout == torch.strided
        if not is_dense or found.is_floating_point() != value.is_floating_point() or found.is_complex():
            raise ValueError(f"{name} is of type {found.dtype}, {found.layout}")
    unknown = state.keys() - wanted.keys()
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]} is none of its weights")
    network = build()
    network.load_state_dict(state)
    return network


def weights_of(role: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the weights of one network out of those of several, which begin with the network's role and a dot."""
    prefix = f"{role}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
