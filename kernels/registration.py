"""The registration of operators with PyTorch, the same for all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.library import CustomOpDef, custom_op  # type: ignore[attr-defined]

IMPLEMENTATIONS: dict[str, tuple[CustomOpDef, Callable[..., Any]]] = {}
"""Every operator with its Triton implementation, which tests run on CPU tensors under Triton's interpreter."""


def register(
    name: str,
    schema: str,
    *,
    triton: Callable[..., Any],
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    save: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> CustomOpDef:
    """Register ``intact_fast::name`` with all that ``torch.compile``, autograd and both devices need.

    Args:
        name: Name of the operator.
        schema: Its arguments and results in PyTorch's notation.
        triton: Implementation on CUDA tensors.
        cpu: Implementation on CPU tensors, in plain PyTorch.
        fake: Gives outputs of the right shape, dtype and strides.
        save: Autograd's ``setup_context(ctx, inputs, output)``.
        backward: Autograd's formula; None makes the operator not differentiable.
    """
    operator = custom_op(
        f"intact_fast::{name}",
        _without_autocast(triton, "cuda"),
        mutates_args=(),
        device_types="cuda",
        schema=schema,
    )
    operator.register_kernel("cpu")(_without_autocast(cpu, "cpu"))
    operator.register_fake(fake)
    IMPLEMENTATIONS[name] = operator, triton
    if backward is not None:
        operator.register_autograd(backward, setup_context=save)
    return operator


def _without_autocast(implementation: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Keep autocast, which stays switched on inside an operator, from the implementation's own arithmetic."""

    @functools.wraps(implementation)
    def wrapped(*arguments: Any) -> Any:
        with torch.autocast(device, enabled=False):
            return implementation(*arguments)

    return wrapped


def accumulation_type(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where that is the input's (on the CPU)."""
    return torch.promote_types(dtype, torch.float32)
