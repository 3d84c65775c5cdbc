"""The checks of the operators' arguments, each with a message that names the argument."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""The types that the Triton kernels read and write."""


def check_tensor(name: str, x: Tensor, *, dims: int, channels_last: bool = False) -> None:
    """Refuse a tensor that no operator can take.

    Raises:
        ValueError: Another number of dimensions, an empty tensor, or not channels-last where that is needed.
        TypeError: A dtype that the implementation on the tensor's device does not know.
    """
    if x.ndim != dims:
        raise ValueError(f"{name} must have {dims} dimensions, not the shape {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(x.shape)}")
    if x.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"{name} is on {x.device}; the operators run on cuda and cpu")
    known = (*FLOATS, torch.float64) if x.device.type == "cpu" else FLOATS
    if x.dtype not in known:
        raise TypeError(f"{name} is {x.dtype}; on {x.device.type} the operators take {', '.join(map(str, known))}")
    if channels_last and not x.is_contiguous(memory_format=torch.channels_last):
        raise ValueError(
            f"{name} must be channels-last; convert it with .contiguous(memory_format=torch.channels_last)"
        )


def check_beside(name: str, other: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    """Raise ValueError unless ``other`` has this shape and lies on x's device."""
    if other.shape != shape or other.device != x.device:
        raise ValueError(f"{name} must be {shape} on {x.device}, not {tuple(other.shape)} on {other.device}")


def check_vector(name: str, vector: Tensor | None, sizes: tuple[int, ...], x: Tensor) -> None:
    """Raise ValueError unless ``vector`` is None or a contiguous vector of one of these sizes on x's device."""
    if vector is None:
        return
    if vector.ndim != 1 or len(vector) not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise ValueError(f"{name} must hold {wanted} values, not the shape {tuple(vector.shape)}")
    if vector.device != x.device:
        raise ValueError(f"{name} is on {vector.device}, the input on {x.device}")
    if not vector.is_contiguous():
        raise ValueError(f"{name} must be contiguous; convert it with .contiguous()")


def check_running_statistics(mean: Tensor | None, variance: Tensor | None, training: bool) -> None:
    """Raise ValueError unless both are there, or in training both are None."""
    if (mean is None) != (variance is None) or (not training and mean is None):
        raise ValueError("running_mean and running_var belong together, and eval mode needs them")
