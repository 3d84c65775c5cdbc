"""Triton kernels and launchers of bias, activation, 2× pixel shuffle and skip tensor.

Between input and output the four values of a channel are regrouped inside the tile. So both sides of global memory
are walked along contiguous channels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.activations import activated, activation_gradient
from intact_fast.kernels.launch import empty, launch, power_of_two
from intact_fast.kernels.loading import load_vector

_TILE, _WARPS = 4096, 8
_PROGRAMS = 512


@triton.jit
def _output_offsets(begin, p, c, width, C):
    """The offsets of each input pixel's four pixels [BP, 4, BC] in the output N×2H×2W×C.

    ``begin`` is the tile's first pixel (64 bits) and ``p`` counts from there. The result is a 64-bit offset of the
    tile and 32-bit offsets in it, which keep registers free.
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
    """``out[2i + a, 2j + b, c] = f((x + bias)[i, j, 4c + 2a + b]) + skip[2i + a, 2j + b, c]``.

    One program takes BP input pixels of 4·BC channels. The indices i and j count rows and columns; a and b are 0 or 1.
    """
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
    """``∂L/∂x = g·f'(y)`` for the input pixels of one chunk, with ``y = x + bias`` and g the gradient, unshuffled.

    The chunk's parts of the other gradients are ``∂L/∂bias = Σ ∂L/∂x`` and ``∂L/∂slope = Σ g·min(y, 0)``. The skip
    tensor's gradient is the incoming one.
    """
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


def has_one_slope(slope: Tensor | None) -> bool:
    """Tell whether all channels share one slope."""
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
        ONE_SLOPE=has_one_slope(slope),
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
        ONE_SLOPE=has_one_slope(slope),
        warps=_WARPS,
        **tile,
    )
    nothing = grad.new_empty(0, dtype=torch.float32)
    grad_bias = nothing if bias_partial is None else bias_partial.sum(dim=0)
    if slope_partial is None:
        return grad_x, grad_bias, nothing.clone()
    return grad_x, grad_bias, slope_partial.sum().view(1) if has_one_slope(slope) else slope_partial.sum(dim=0)
