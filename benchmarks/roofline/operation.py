"""One operation of an iteration: where it is, and what it reads, writes and computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Network = Literal["G", "D", "C", "C_q", "φ and σ", "losses", "optimisers"]
Update = Literal["pictures of G", "update of D", "update of φ and σ", "update of G"]
Direction = Literal["forward", "backward", "update"]
Kind = Literal[
    "convolution", "depthwise", "linear", "normalisation", "shuffle", "pooling", "elementwise", "optimiser", "average"
]


class Place(NamedTuple):
    """Where in an iteration an operation is."""

    update: Update
    network: Network
    direction: Direction


@dataclass(frozen=True)
class Operation:
    """One operation as PyTorch dispatches it.

    Attributes:
        name: PyTorch's, without the overload.
        kind: What it is.
        shapes: Sizes of what it takes first: its input, or the gradient; then the filters, where there are some.
        place: Where it is.
        flops: Of its matrix products and convolutions; 0 of others.
        reads: Bytes of every input by the number of its memory.
        writes: The same of every output.
        launched_bytes: Bytes that its launches read and write.
        launches: How many there are.
        again: Bytes of inputs that have to be read a second time, by the number of their memory: by the second of a
            convolution's gradients, and by a normalisation once it has the batch's statistics.
        unfoldable: Bytes of a normalisation that move even where convolutions take it over, by the number of their
            memory: what its backward pass needs besides the gradient, and a residual tensor.
    """

    name: str
    kind: Kind
    shapes: tuple[tuple[int, ...], ...]
    place: Place
    flops: int
    reads: dict[int, int]
    writes: dict[int, int]
    launched_bytes: int
    launches: int
    again: dict[int, int]
    unfoldable: dict[int, int]

    @property
    def own_bytes(self) -> int:
        """Bytes of inputs and outputs, each once."""
        return sum(self.reads.values()) + sum(self.writes.values())


_KINDS: dict[str, Kind] = {
    "addmm": "linear",
    "mm": "linear",
    "linear_bn_act": "linear",
    "linear_bn_mse": "linear",
    "depthwise_norm_act": "depthwise",
    "native_batch_norm": "normalisation",
    "batch_norm_act": "normalisation",
    "pixel_shuffle": "shuffle",
    "pixel_unshuffle": "shuffle",
    "pixel_shuffle_act": "shuffle",
    "max_pool2d_with_indices": "pooling",
    "avg_pool2d": "pooling",
    "_fused_adam_": "optimiser",
}


def nbytes(tensor: Tensor) -> int:
    """Bytes of the memory that a tensor shows; expanded dimensions count once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride != 0 else min(size, 1)
    return count * tensor.element_size()


def kind(name: str, args: tuple[Any, ...], place: Place) -> Kind:
    """Say what an operation is."""
    forward = name.removesuffix("_backward")
    if forward == "convolution":
        return "depthwise" if args[-2 if name.endswith("_backward") else -1] > 1 else "convolution"
    if place.direction == "update" and "lerp" in name:
        return "average"
    return _KINDS.get(forward, "elementwise")


def shapes(name: str, args: tuple[Any, ...], out: Any) -> tuple[tuple[int, ...], ...]:
    """Give the sizes of what an operation takes first; see `Operation`."""
    found = [tuple(leaf.shape) for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor)]
    if name == "convolution":
        return tuple(found[:2])
    return (found[1], found[2]) if name == "convolution_backward" else tuple(found[:1])


def convolution_flops(name: str, args: tuple[Any, ...], out: Any) -> int:
    """FLOPs of a convolution or of those gradients that are asked for, of each group's channels alone.

    PyTorch's own counter takes the gradient of a depthwise filter for that of a full one.
    """
    weight = args[2] if name.endswith("_backward") else args[1]
    grad_or_out = args[0] if name.endswith("_backward") else out
    positions = grad_or_out.numel() // grad_or_out.shape[1]
    gradients = sum(args[-1][:2]) if name.endswith("_backward") else 1
    return 2 * positions * weight.numel() * gradients


def counter_of_flops() -> FlopCounterMode:
    """PyTorch's counter, with a formula of our own for gradients of convolutions: its own overstates depthwise ones."""

    def of_gradients(*args: Any, out_val: Any, **options: Any) -> int:
        return convolution_flops("convolution_backward", args, out_val)

    # marked so, a formula is given tensors instead of their shapes
    of_gradients._get_raw = True  # type: ignore[attr-defined]
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: of_gradients})


def unread(name: str, args: tuple[Any, ...]) -> set[int]:
    """Numbers of the arguments whose values an operation does not look at."""
    if name == "convolution_backward":
        of_input, of_weight, _ = args[-1]
        return ({1} if not of_weight else set()) | ({2} if not of_input else set())
    if name == "native_batch_norm_backward" and not args[7] and not args[9][1]:
        return {1}
    return {1} if name in ("max_pool2d_with_indices_backward", "avg_pool2d_backward") else set()


def special_reads(name: str, args: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """What is read again, and what cannot be folded into a convolution; see `Operation`."""
    backward = name.endswith("_backward")
    if name == "convolution_backward":
        # gradients of input and weight are two kernels
        return [args[0]] if all(args[-1][:2]) else [], []
    if name.startswith("native_batch_norm"):
        residual, by_batch = None, args[7] if backward else args[5]
    elif name.startswith("batch_norm_act"):
        # the residual tensor's gradient has the size of the output's
        residual = (args[0] if args[-1] else None) if backward else args[1]
        by_batch = args[7] if backward else args[6]
    else:
        return [], []
    x = args[1] if backward else args[0]
    of_residual = [] if residual is None else [residual]
    if not by_batch:
        return [], of_residual
    return ([args[0], x], [x, *of_residual]) if backward else ([x], of_residual)


def launches_of_pytorch(name: str, args: tuple[Any, ...], again: dict[int, int]) -> int:
    """How many launches one of PyTorch's own operations is, at least."""
    return sum(args[-1]) if name == "convolution_backward" else 1 + bool(again)
