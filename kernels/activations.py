"""The activations that the operators fuse, in Triton and in PyTorch, with PyTorch's treatment of NaN."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

Activation = Literal["none", "relu", "leaky_relu"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)


@triton.jit
def activated(x, slope, ACTIVATION: tl.constexpr):
    """f(x); ``slope`` is that of negative values and unused by ``none`` and ``relu``."""
    if ACTIVATION == "relu":
        x = tl.where(x <= 0, 0.0, x)
    elif ACTIVATION != "none":
        x = tl.where(x > 0, x, x * slope)
    return x


@triton.jit
def activation_gradient(grad, x, slope, ACTIVATION: tl.constexpr):
    """``grad`` times f'(x). Only the sign of x matters, so f(x) serves as well while the slope is not negative."""
    if ACTIVATION == "relu":
        grad = tl.where(x <= 0, 0.0, grad)
    elif ACTIVATION != "none":
        grad = tl.where(x > 0, grad, grad * slope)
    return grad


def activate(x: Tensor, activation: str, slope: float | Tensor) -> Tensor:
    """f(x) in PyTorch; a tensor as ``slope`` is PReLU's, of a shape that broadcasts."""
    if activation == "none":
        return x
    if activation == "relu":
        return torch.relu(x)
    if isinstance(slope, float):
        return F.leaky_relu(x, slope)
    return torch.where(x > 0, x, x * slope)


def activate_backward(grad: Tensor, x: Tensor, activation: str, slope: float | Tensor) -> Tensor:
    """``grad`` times f'(x) in PyTorch."""
    if activation == "none":
        return grad
    if activation == "relu":
        return torch.where(x <= 0, 0, grad)
    return torch.where(x > 0, grad, grad * slope)


def check_activation(activation: str, known: tuple[str, ...]) -> None:
    """Raise ValueError unless ``activation`` is one of ``known``."""
    if activation not in known:
        raise ValueError(f"activation must be one of {', '.join(known)}, not {activation!r}")
