"""Which implementation runs: the fused operators or the plain PyTorch expression."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kernels = Literal["auto", "triton", "torch"]

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""What the Triton kernels read and write."""

Operator = Literal["pixel_shuffle_act", "batch_norm_act", "association"]
"""What can be chosen; ``association`` are the layers of φ and σ together with their losses."""

FASTER: frozenset[Operator] = frozenset({"pixel_shuffle_act", "association"})
"""What ``auto`` takes on a GPU: picture operators that a record shows at least as fast as Inductor's code for the same
expression on every shape of the paper, and ``association`` if its whole step is (``benchmarks/records``, operators).
That is the device's time: where Python launches each operator it costs more than it saves, so that the training asks
for ``auto`` in compiled iterations that are replayed as CUDA graphs alone."""


def uses_operator(kernels: Kernels, operator: Operator, *tensors: Tensor | None) -> bool:
    """Whether the fused operator takes these tensors.

    ``triton`` always does (on the CPU it runs the operator's CPU implementation), ``torch`` never, and ``auto``
    where that was measured faster: listed in `FASTER`, on a GPU, of a type and layout that the kernels know.
    """
    if kernels == "auto":
        return operator in FASTER and all(_fits(tensor) for tensor in tensors if tensor is not None)
    return kernels == "triton"


def _fits(x: Tensor) -> bool:
    laid_out = x.ndim != 4 or x.is_contiguous(memory_format=torch.channels_last)
    return x.is_cuda and x.dtype in FLOATS and laid_out


def check_tensor(name: str, x: Tensor, *, dims: int, channels_last: bool = False) -> None:
    """Refuse what an operator cannot take.

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
