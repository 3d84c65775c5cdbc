"""The launching of Triton kernels, or the writing down of what would be launched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Launch:
    """One kernel launch as it was asked for.

    Attributes:
        kernel: The ``triton.jit`` function.
        grid: Programs in each dimension.
        arguments: Tensors (or None) and scalars by name.
        constants: ``tl.constexpr`` values by name: the configuration.
        warps: Warps per program.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Tensor | int | float | None]
    constants: dict[str, Any]
    warps: int


@dataclass
class _Mode:
    """The state that turns launching and allocating into something else, for tests and benchmarks."""

    recorded: list[Launch] | None = field(default=None)
    poisoned: bool = False


_mode = _Mode()


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Note launches instead of running them; with tensors on the ``meta`` device nothing is computed at all."""
    previous, _mode.recorded = _mode.recorded, []
    try:
        yield _mode.recorded
    finally:
        _mode.recorded = previous


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill what `empty` gives with NaN, so that an element that no kernel writes shows."""
    previous, _mode.poisoned = _mode.poisoned, True
    try:
        yield
    finally:
        _mode.poisoned = previous


def empty(*shape: int, like: Tensor, dtype: torch.dtype | None = None, channels_last: bool = False) -> Tensor:
    """Allocate an output on ``like``'s device, of its dtype unless another is named."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    tensor = torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=layout)
    return tensor.fill_(float("nan")) if _mode.poisoned else tensor


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: dict[str, Tensor | int | float | None],
    *,
    warps: int = 4,
    **constants: Any,
) -> None:
    """Run a kernel on the device of its first argument.

    Args:
        kernel: A ``triton.jit`` function.
        grid: Programs in each dimension.
        arguments: Its run-time arguments by name, the first one a tensor.
        warps: Warps per program.
        **constants: Its ``tl.constexpr`` arguments.
    """
    if _mode.recorded is not None:
        _mode.recorded.append(Launch(kernel, grid, arguments, constants, warps))
        return
    first = next(iter(arguments.values()))
    assert isinstance(first, Tensor)
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        kernel[grid](**arguments, **constants, num_warps=warps, enable_fp_fusion=True)


def power_of_two(number: int, least: int, most: int) -> int:
    """The smallest power of two that is ≥ ``number``, within [least, most] (themselves powers of two)."""
    return min(max(1 << max(number - 1, 0).bit_length(), least), most)
