"""Bias, activation, 2× pixel shuffle and an optional skip tensor on a channels-last convolution output.

One read and one write (two reads with a skip tensor), where the plain expression takes a pass each. Between input
and output the four values of a channel are regrouped inside the tile, so that both sides of global memory are
walked along contiguous channels.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.activations import (
    activate,
    activate_backward,
    activated,
    activation_gradient,
    check_activation,
)
from intact_fast.kernels.choice import check_tensor, check_vector
from intact_fast.kernels.launch import empty, launch, power_of_two
from intact_fast.kernels.loading import load_vector
from intact_fast.kernels.registration import accumulation_type, register

ShuffleActivation = Literal["none", "relu", "leaky_relu", "prelu"]
_ACTIVATIONS: tuple[str, ...] = get_args(ShuffleActivation)

_TILE, _WARPS = 4096, 8
_PROGRAMS = 512


@triton.jit
def _output_offsets(begin, p, c, width, C):
    """Where the four pixels [BP, 4, BC] of each input pixel lie in the output N×2H×2W×C.

    ``begin`` is the tile's first pixel (64 bits) and ``p`` counts from there; returned are a 64-bit offset of the tile
    and 32-bit offsets in it, which keep registers free.
    """
    first_row = begin // width
    q = (begin - first_row * width).to(tl.int32) + p
    row = q // width
    column = q % width
    quarter = tl.arange(0, 4)
    y = (2 * row)[:, None] + (quarter // 2)[None, :]
    x = (2 * column)[:, None] + (quarter % 2)[None, :]
    return first_row * width * 4 * C, (y * (2 * width) + x)[:, :, None] * C + c[None, None, :]


@triton.jit
def _load_slope(slope_ptr, negative_slope, c4, C, ACTIVATION: tl.constexpr, ONE_SLOPE: tl.constexpr):
    """The slope of negative values, broadcastable to [BP, 4·BC]."""
    slope = negative_slope
    if ACTIVATION == "prelu":
        if ONE_SLOPE:
            slope = tl.load(slope_ptr).to(tl.float32)
        else:
            slope = tl.load(slope_ptr + c4, mask=c4 < 4 * C, other=0.0).to(tl.float32)[None, :]
    return slope


@triton.jit
def _forward_kernel(
    x_ptr,  # pixels×4C
    bias_ptr,  # 4C or None
    slope_ptr,  # 1 or 4C, or None
    skip_ptr,  # 4·pixels×C or None
    out_ptr,  # 4·pixels×C
    negative_slope,
    pixels,
    width,
    C,
    ACTIVATION: tl.constexpr,
    ONE_SLOPE: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    begin = tl.program_id(0).to(tl.int64) * BP
    p = tl.arange(0, BP)
    c4 = tl.program_id(1) * (4 * BC) + tl.arange(0, 4 * BC)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    left = tl.minimum(pixels - begin, BP).to(tl.int32)
    inside = (p[:, None] < left) & (c4[None, :] < 4 * C)
    x = tl.load(x_ptr + begin * 4 * C + (p[:, None] * (4 * C) + c4[None, :]), mask=inside, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        x += tl.load(bias_ptr + c4, mask=c4 < 4 * C, other=0.0).to(tl.float32)[None, :]
    x = activated(x, _load_slope(slope_ptr, negative_slope, c4, C, ACTIVATION, ONE_SLOPE), ACTIVATION)
    x = tl.permute(tl.reshape(x, (BP, BC, 4)), (0, 2, 1))
    start, offsets = _output_offsets(begin, p, c, width, C)
    kept = (p < left)[:, None, None] & (c < C)[None, None, :]
    if skip_ptr is not None:
        x += tl.load(skip_ptr + start + offsets, mask=kept, other=0.0).to(tl.float32)
    tl.store(out_ptr + start + offsets, x.to(out_ptr.dtype.element_ty), mask=kept)


@triton.jit
def _backward_kernel(
    grad_ptr,  # 4·pixels×C
    saved_ptr,  # the output 4·pixels×C, or the input pixels×4C, or None
    bias_ptr,  # 4C or None
    slope_ptr,  # 1 or 4C, or None
    grad_x_ptr,  # pixels×4C
    bias_partial_ptr,  # chunks×4C or None
    slope_partial_ptr,  # chunks×4C or None
    negative_slope,
    pixels,
    width,
    C,
    tiles,
    FROM_OUTPUT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    ONE_SLOPE: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    p = tl.arange(0, BP)
    c4 = tl.program_id(1) * (4 * BC) + tl.arange(0, 4 * BC)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    slope = _load_slope(slope_ptr, negative_slope, c4, C, ACTIVATION, ONE_SLOPE)
    bias = load_vector(bias_ptr, c4, 4 * C, 0.0)
    # summed over pixels once at the end: a reduction in each tile would make the whole program wait for it
    bias_total = tl.zeros((BP, 4 * BC), tl.float32)
    slope_total = tl.zeros((BP, 4 * BC), tl.float32)
    for tile in range(tiles):
        begin = (chunk * tiles + tile) * BP
        left = tl.maximum(tl.minimum(pixels - begin, BP), 0).to(tl.int32)
        start, offsets = _output_offsets(begin, p, c, width, C)
        kept = (p < left)[:, None, None] & (c < C)[None, None, :]
        grad = tl.load(grad_ptr + start + offsets, mask=kept, other=0.0).to(tl.float32)
        if FROM_OUTPUT:
            saved = tl.load(saved_ptr + start + offsets, mask=kept, other=0.0).to(tl.float32)
            grad = activation_gradient(grad, saved, slope, ACTIVATION)
        grad = tl.reshape(tl.permute(grad, (0, 2, 1)), (BP, 4 * BC))
        inside = (p[:, None] < left) & (c4[None, :] < 4 * C)
        start = begin * 4 * C
        input_offsets = p[:, None] * (4 * C) + c4[None, :]
        if (not FROM_OUTPUT) and ACTIVATION != "none":
            x = tl.load(saved_ptr + start + input_offsets, mask=inside, other=0.0).to(tl.float32)
            x += bias[None, :]
            if slope_partial_ptr is not None:
                slope_total += tl.where(x > 0, 0.0, grad * x)
            grad = activation_gradient(grad, x, slope, ACTIVATION)
        tl.store(grad_x_ptr + start + input_offsets, grad.to(grad_x_ptr.dtype.element_ty), mask=inside)
        if bias_partial_ptr is not None:
            bias_total += grad
    if bias_partial_ptr is not None:
        tl.store(bias_partial_ptr + chunk * (4 * C) + c4, tl.sum(bias_total, axis=0), mask=c4 < 4 * C)
    if slope_partial_ptr is not None:
        tl.store(slope_partial_ptr + chunk * (4 * C) + c4, tl.sum(slope_total, axis=0), mask=c4 < 4 * C)


def _tile(channels: int) -> dict[str, int]:
    block = power_of_two(channels, 4, 64)
    # many pixels of few channels would need more registers than there are
    return {"BC": block, "BP": min(_TILE // (4 * block), 64)}


def _one_slope(slope: Tensor | None) -> bool:
    return slope is not None and slope.numel() == 1


def forward_triton(
    x: Tensor,
    bias: Tensor | None,
    slope: Tensor | None,
    skip: Tensor | None,
    activation: str,
    negative_slope: float,
) -> Tensor:
    """Launch the forward pass: N×4C×H×W → N×C×2H×2W."""
    n, four_c, height, width = x.shape
    channels = four_c // 4
    out = empty(n, channels, 2 * height, 2 * width, like=x, channels_last=True)
    pixels, tile = n * height * width, _tile(channels)
    launch(
        _forward_kernel,
        (triton.cdiv(pixels, tile["BP"]), triton.cdiv(channels, tile["BC"])),
        {
            "x_ptr": x,
            "bias_ptr": bias,
            "slope_ptr": slope,
            "skip_ptr": skip,
            "out_ptr": out,
            "negative_slope": negative_slope,
            "pixels": pixels,
            "width": width,
            "C": channels,
        },
        ACTIVATION=activation,
        ONE_SLOPE=_one_slope(slope),
        warps=_WARPS,
        **tile,
    )
    return out


def backward_triton(
    grad: Tensor,
    saved: Tensor | None,
    from_output: bool,
    bias: Tensor | None,
    slope: Tensor | None,
    activation: str,
    negative_slope: float,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the backward pass; gradients of bias and slope are float32 and empty where not asked for."""
    n, channels, height, width = grad.shape
    height, width = height // 2, width // 2
    grad = grad.contiguous(memory_format=torch.channels_last)
    grad_x = empty(n, 4 * channels, height, width, like=grad, channels_last=True)
    pixels, tile = n * height * width, _tile(channels)
    blocks = triton.cdiv(pixels, tile["BP"])
    tiles = triton.cdiv(blocks, _PROGRAMS)
    chunks = triton.cdiv(blocks, tiles)

    def partials(wanted: bool) -> Tensor | None:
        return empty(chunks, 4 * channels, like=grad, dtype=torch.float32) if wanted else None

    bias_partial, slope_partial = partials(needs_bias), partials(slope is not None)
    launch(
        _backward_kernel,
        (chunks, triton.cdiv(channels, tile["BC"])),
        {
            "grad_ptr": grad,
            "saved_ptr": saved,
            "bias_ptr": bias,
            "slope_ptr": slope,
            "grad_x_ptr": grad_x,
            "bias_partial_ptr": bias_partial,
            "slope_partial_ptr": slope_partial,
            "negative_slope": negative_slope,
            "pixels": pixels,
            "width": width,
            "C": channels,
            "tiles": tiles,
        },
        FROM_OUTPUT=from_output,
        ACTIVATION=activation,
        ONE_SLOPE=_one_slope(slope),
        warps=_WARPS,
        **tile,
    )
    nothing = grad.new_empty(0, dtype=torch.float32)
    grad_bias = nothing if bias_partial is None else bias_partial.sum(dim=0)
    if slope_partial is None:
        return grad_x, grad_bias, nothing.clone()
    return grad_x, grad_bias, slope_partial.sum().view(1) if _one_slope(slope) else slope_partial.sum(dim=0)


def _per_channel(vector: Tensor, dtype: torch.dtype) -> Tensor:
    return vector.to(dtype)[None, :, None, None]


def _slope_of(slope: Tensor | None, negative_slope: float, dtype: torch.dtype) -> float | Tensor:
    return negative_slope if slope is None else _per_channel(slope, dtype)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    dtype = accumulation_type(x.dtype)
    return x.to(dtype) if bias is None else x.to(dtype) + _per_channel(bias, dtype)


def forward_cpu(
    x: Tensor,
    bias: Tensor | None,
    slope: Tensor | None,
    skip: Tensor | None,
    activation: str,
    negative_slope: float,
) -> Tensor:
    """Compute the forward pass in PyTorch, rounding once as the kernel does."""
    y = _with_bias(x, bias)
    y = F.pixel_shuffle(activate(y, activation, _slope_of(slope, negative_slope, y.dtype)), 2)
    return _channels_last(y if skip is None else y + skip, x.dtype)


def backward_cpu(
    grad: Tensor,
    saved: Tensor | None,
    from_output: bool,
    bias: Tensor | None,
    slope: Tensor | None,
    activation: str,
    negative_slope: float,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    dtype = accumulation_type(grad.dtype)
    grad_y = F.pixel_unshuffle(grad.to(dtype), 2)
    grad_slope = grad.new_empty(0, dtype=dtype)
    if saved is not None:
        y = F.pixel_unshuffle(saved.to(dtype), 2) if from_output else _with_bias(saved, bias)
        if slope is not None:
            per_value = torch.where(y > 0, 0, grad_y * y)
            grad_slope = per_value.sum().view(1) if _one_slope(slope) else per_value.sum(dim=(0, 2, 3))
        grad_y = activate_backward(grad_y, y, activation, _slope_of(slope, negative_slope, dtype))
    grad_bias = grad_y.sum(dim=(0, 2, 3)) if needs_bias else grad.new_empty(0, dtype=dtype)
    return _channels_last(grad_y, grad.dtype), grad_bias, grad_slope


def _channels_last(x: Tensor, dtype: torch.dtype) -> Tensor:
    return empty(*x.shape, like=x, dtype=dtype, channels_last=True).copy_(x)


def _forward_fake(x: Tensor, *options: Any) -> Tensor:
    n, four_c, height, width = x.shape
    return empty(n, four_c // 4, 2 * height, 2 * width, like=x, channels_last=True)


def _backward_fake(
    grad: Tensor,
    saved: Tensor | None,
    from_output: bool,
    bias: Tensor | None,
    slope: Tensor | None,
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    needs_bias = options[-1]
    n, channels, height, width = grad.shape
    dtype = accumulation_type(grad.dtype)
    return (
        empty(n, 4 * channels, height // 2, width // 2, like=grad, channels_last=True),
        empty(4 * channels if needs_bias else 0, like=grad, dtype=dtype),
        empty(0 if slope is None else slope.numel(), like=grad, dtype=dtype),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bias, slope, skip, ctx.activation, ctx.negative_slope = inputs
    # without a skip tensor the output, which lives on as the next layer's input, has the sign that is needed
    ctx.from_output = skip is None and (
        ctx.activation == "relu" or (ctx.activation == "leaky_relu" and ctx.negative_slope >= 0)
    )
    saved = None if ctx.activation == "none" else output if ctx.from_output else x
    ctx.save_for_backward(saved, bias, slope)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved, bias, slope = ctx.saved_tensors
    wants_bias = bias is not None and ctx.needs_input_grad[1]
    grad_x, grad_bias, grad_slope = _backward_operator(
        grad, saved, ctx.from_output, bias, slope, ctx.activation, ctx.negative_slope, wants_bias
    )
    return (
        grad_x,
        grad_bias.to(bias.dtype) if wants_bias else None,
        None if slope is None else grad_slope.to(slope.dtype),
        grad if ctx.needs_input_grad[3] else None,
        None,
        None,
    )


_backward_operator = register(
    "pixel_shuffle_act_backward",
    "(Tensor grad, Tensor? saved, bool from_output, Tensor? bias, Tensor? slope, str activation, "
    "float negative_slope, bool needs_bias) -> (Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "pixel_shuffle_act",
    "(Tensor x, Tensor? bias, Tensor? slope, Tensor? skip, str activation, float negative_slope) -> Tensor",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


def pixel_shuffle_act(
    x: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    *,
    activation: ShuffleActivation = "relu",
    slope: Tensor | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """``pixel_shuffle(f(x + bias), 2) + skip`` in one pass, computed in float32 and rounded once.

    Args:
        x: N×4C×H×W, channels-last, of a convolution without bias; float32, bfloat16 or float16 (on the CPU
            float64, too).
        bias: 4C, the convolution's bias.
        skip: N×C×2H×2W, channels-last.
        activation: f; ``prelu`` needs ``slope``.
        slope: PReLU's weight: 1 or 4C values.
        negative_slope: LeakyReLU's.

    Returns:
        N×C×2H×2W, channels-last.

    Raises:
        ValueError: A shape, layout, device or activation that does not fit.
        TypeError: A dtype that is not supported.
    """
    check_activation(activation, _ACTIVATIONS)
    check_tensor("x", x, dims=4, channels_last=True)
    n, four_c, height, width = x.shape
    if four_c % 4:
        raise ValueError(f"x must have a multiple of 4 channels, not {four_c}")
    check_vector("bias", bias, (four_c,), x)
    check_vector("slope", slope, (1, four_c), x)
    if (activation == "prelu") != (slope is not None):
        raise ValueError("slope belongs to activation 'prelu', which needs it")
    if skip is not None:
        check_tensor("skip", skip, dims=4, channels_last=True)
        if skip.shape != (n, four_c // 4, 2 * height, 2 * width) or skip.device != x.device:
            raise ValueError(
                f"skip must be {(n, four_c // 4, 2 * height, 2 * width)} on {x.device}, "
                f"not {tuple(skip.shape)} on {skip.device}"
            )
        dtype = torch.promote_types(x.dtype, skip.dtype)
        x, skip = x.to(dtype), skip.to(dtype)
    return _operator(x, bias, slope, skip, activation, negative_slope)


def pixel_shuffle_act_reference(
    x: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    *,
    activation: ShuffleActivation = "relu",
    slope: Tensor | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """The same as `pixel_shuffle_act` in PyTorch's own operators."""
    if bias is not None:
        x = x + bias[None, :, None, None].to(x.dtype)
    x = F.prelu(x, slope.to(x.dtype)) if slope is not None else activate(x, activation, negative_slope)
    x = F.pixel_shuffle(x, 2)
    return x if skip is None else x + skip
