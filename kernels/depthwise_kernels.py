"""Triton kernels and launchers of a depthwise 3×3 convolution with batch normalisation and activation.

A picture batch is the matrix M×C of its positions. A tap k of a channel's filter is one of its 9 values. It looks at
the position that lies dy rows below and dx columns to the right, with dy = k // 3 − 1 and dx = k % 3 − 1, or at 0
outside of the picture. Neighbours come from the first-level cache, so that each tensor is read from memory once.

In the formulas ``scale = 1/√(variance + ε)`` and ``z[p] = Σₖ filter[k]·x[p + k]``, where p + k is what tap k looks at.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.activations import activated, activation_gradient
from intact_fast.kernels.cut import Cut
from intact_fast.kernels.launch import empty, launch
from intact_fast.kernels.loading import load_vector, tile_mask, tile_offsets
from intact_fast.kernels.pictures import picture_like
from intact_fast.kernels.registration import accumulation_type

_TILE, _WARPS = 512, 4
"""Small, as the backward pass keeps ten sums of each of a tile's elements in registers."""
_PROGRAMS = 512
"""At most, in a backward pass that sums over all rows: about four for each multiprocessor of an H100."""


@triton.jit
def _rows_and_columns(start, H, W, BM: tl.constexpr):
    """Row and column in its picture of each of the BM positions from ``start`` (64 bits) on."""
    q = (start % (H * W)).to(tl.int32) + tl.arange(0, BM)
    return (q // W) % H, q % W


@triton.jit
def _lies_inside(row, column, H, W):
    """Whether a position lies inside of the picture: [BM, 1]."""
    return ((row >= 0) & (row < H) & (column >= 0) & (column < W))[:, None]


@triton.jit
def _load_scale(var_ptr, c, C, eps):
    """``1/√(variance + ε)`` of BC channels."""
    return 1.0 / tl.sqrt_rn(tl.load(var_ptr + c, mask=c < C, other=1.0).to(tl.float32) + eps)


@triton.jit
def _load_tap(filters_ptr, c, C, K: tl.constexpr):
    """``filter[K]`` of BC channels, in float32."""
    return tl.load(filters_ptr + c * 9 + K, mask=c < C, other=0.0).to(tl.float32)


@triton.jit
def _forward_kernel(
    x_ptr,  # M×C
    filters_ptr,  # C×9
    weight_ptr,  # C or None
    bias_ptr,  # C or None
    mean_ptr,  # C
    var_ptr,  # C
    out_ptr,  # M×C
    slope,
    eps,
    M,
    C,
    H,
    W,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """``out = f((z − mean)·scale·γ + β)`` for BM×BC elements."""
    start = tl.program_id(0).to(tl.int64) * BM
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = tile_mask(start, M, c, C, BM)
    row, column = _rows_and_columns(start, H, W, BM)
    x_ptr += start * C
    offsets = tile_offsets(c, C, BM)
    z = tl.zeros((BM, BC), tl.float32)
    for k in tl.static_range(9):
        there = inside & _lies_inside(row + (k // 3 - 1), column + (k % 3 - 1), H, W)
        x = tl.load(x_ptr + offsets + ((k // 3 - 1) * W + (k % 3 - 1)) * C, mask=there, other=0.0).to(tl.float32)
        z += x * _load_tap(filters_ptr, c, C, k)[None, :]
    scale = _load_scale(var_ptr, c, C, eps) * load_vector(weight_ptr, c, C, 1.0)
    y = (z - load_vector(mean_ptr, c, C, 0.0)[None, :]) * scale[None, :] + load_vector(bias_ptr, c, C, 0.0)[None, :]
    y = activated(y, slope, ACTIVATION)
    tl.store(out_ptr + start * C + offsets, y.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gradient_at(
    grad_ptr, out_ptr, offsets, inside, row, column, slope, C, H, W, ACTIVATION: tl.constexpr, K: tl.constexpr
):
    """``g = grad·f'(y)`` at the positions p − K, whose tap K has looked at the positions p: [BM, BC]."""
    there = inside & _lies_inside(row - (K // 3 - 1), column - (K % 3 - 1), H, W)
    offsets = offsets - ((K // 3 - 1) * W + (K % 3 - 1)) * C
    grad = tl.load(grad_ptr + offsets, mask=there, other=0.0).to(tl.float32)
    if ACTIVATION != "none":
        y = tl.load(out_ptr + offsets, mask=there, other=0.0).to(tl.float32)
        grad = activation_gradient(grad, y, slope, ACTIVATION)
    return grad


@triton.jit
def _store_sum(partial_ptr, products, chunk, chunks, c, C, K: tl.constexpr):
    """Keep the chunk's sum number K over its positions."""
    tl.store(partial_ptr + (K * chunks + chunk) * C + c, tl.sum(products, axis=0), mask=c < C)


@triton.jit
def _backward_kernel(
    grad_ptr,  # M×C
    x_ptr,  # M×C, or None where the input's gradient alone is asked for
    out_ptr,  # M×C, the output, or None without an activation
    filters_ptr,  # C×9
    weight_ptr,  # C or None
    var_ptr,  # C
    grad_x_ptr,  # M×C
    partial_ptr,  # 10×chunks×C or None
    slope,
    eps,
    M,
    C,
    H,
    W,
    rows,
    chunks,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """The gradient of x for one chunk of positions and BC channels, and the chunk's part of ten sums.

    With the gradient before the activation g, ``∂L/∂x[p] = Σₖ filter[k]·scale·γ·g[p − k]``. The sums
    are ``Sₖ = Σₚ g[p − k]·x[p]`` and, as the tenth, ``Σ g``.
    """
    chunk = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    factor = _load_scale(var_ptr, c, C, eps) * load_vector(weight_ptr, c, C, 1.0)
    offsets = tile_offsets(c, C, BM)
    begin = chunk * rows
    end = tl.minimum(begin + rows, M)
    x = tl.zeros((BM, BC), tl.float32)
    # summed over positions once at the end: a reduction in each tile would make the whole program wait for it
    s0, s1, s2, s3, s4, s5, s6, s7, s8, total = x, x, x, x, x, x, x, x, x, x
    for start in range(begin, end, BM):
        inside = tile_mask(start, end, c, C, BM)
        row, column = _rows_and_columns(start, H, W, BM)
        grad_here, out_here = grad_ptr + start * C, out_ptr
        if ACTIVATION != "none":
            out_here += start * C
        if x_ptr is not None:
            x = tl.load(x_ptr + start * C + offsets, mask=inside, other=0.0).to(tl.float32)
        grad_x = tl.zeros((BM, BC), tl.float32)
        for k in tl.static_range(9):
            g = _gradient_at(grad_here, out_here, offsets, inside, row, column, slope, C, H, W, ACTIVATION, k)
            grad_x += g * _load_tap(filters_ptr, c, C, k)[None, :]
            if x_ptr is not None:
                if k == 0:
                    s0 += g * x
                elif k == 1:
                    s1 += g * x
                elif k == 2:
                    s2 += g * x
                elif k == 3:
                    s3 += g * x
                elif k == 4:
                    s4 += g * x
                    total += g
                elif k == 5:
                    s5 += g * x
                elif k == 6:
                    s6 += g * x
                elif k == 7:
                    s7 += g * x
                else:
                    s8 += g * x
        grad_x *= factor[None, :]
        tl.store(grad_x_ptr + start * C + offsets, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
    if partial_ptr is not None:
        _store_sum(partial_ptr, s0, chunk, chunks, c, C, 0)
        _store_sum(partial_ptr, s1, chunk, chunks, c, C, 1)
        _store_sum(partial_ptr, s2, chunk, chunks, c, C, 2)
        _store_sum(partial_ptr, s3, chunk, chunks, c, C, 3)
        _store_sum(partial_ptr, s4, chunk, chunks, c, C, 4)
        _store_sum(partial_ptr, s5, chunk, chunks, c, C, 5)
        _store_sum(partial_ptr, s6, chunk, chunks, c, C, 6)
        _store_sum(partial_ptr, s7, chunk, chunks, c, C, 7)
        _store_sum(partial_ptr, s8, chunk, chunks, c, C, 8)
        _store_sum(partial_ptr, total, chunk, chunks, c, C, 9)


@triton.jit
def _combine_kernel(
    partial_ptr,  # 10×chunks×C
    filters_ptr,  # C×9
    weight_ptr,  # C or None
    mean_ptr,  # C
    var_ptr,  # C
    grad_filters_ptr,  # C×9
    grad_weight_ptr,  # C
    grad_bias_ptr,  # C
    C,
    eps,
    chunks,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    """The gradients of filters, γ and β of BC channels from the chunks' sums.

    ``∂L/∂filter[k] = Sₖ·scale·γ``, ``∂L/∂β = Σ g`` and ``∂L/∂γ = (Σₖ filter[k]·Sₖ − mean·Σ g)·scale``. So z, which is
    nowhere kept, is not needed.
    """
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    j = tl.arange(0, BP)
    inside = (j[:, None] < chunks) & (c[None, :] < C)
    parts = partial_ptr + j[:, None] * C + c[None, :]
    scale = _load_scale(var_ptr, c, C, eps)
    factor = scale * load_vector(weight_ptr, c, C, 1.0)
    total = tl.sum(tl.load(parts + 9 * chunks * C, mask=inside, other=0.0), axis=0)
    of_weight = -load_vector(mean_ptr, c, C, 0.0) * total
    for k in tl.static_range(9):
        found = tl.sum(tl.load(parts + k * chunks * C, mask=inside, other=0.0), axis=0)
        of_weight += _load_tap(filters_ptr, c, C, k) * found
        tl.store(grad_filters_ptr + c * 9 + k, found * factor, mask=c < C)
    tl.store(grad_weight_ptr + c, of_weight * scale, mask=c < C)
    tl.store(grad_bias_ptr + c, total, mask=c < C)


def forward_triton(
    x: Tensor,
    filters: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    activation: str,
    slope: float,
) -> Tensor:
    """Launch the forward pass."""
    cut = Cut.of(x, _tile(x), _PROGRAMS)
    out = picture_like(x)
    launch(
        _forward_kernel,
        cut.over_tiles(),
        {
            "x_ptr": x,
            "filters_ptr": filters,
            "weight_ptr": weight,
            "bias_ptr": bias,
            "mean_ptr": running_mean,
            "var_ptr": running_var,
            "out_ptr": out,
            "slope": slope,
            "eps": eps,
            **cut.sizes,
            **_height_and_width(x),
        },
        ACTIVATION=activation,
        warps=_WARPS,
        **cut.tile,
    )
    return out


def backward_triton(
    grad: Tensor,
    x: Tensor | None,
    out: Tensor | None,
    filters: Tensor,
    weight: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    activation: str,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the backward pass.

    Returns:
        Gradients of x, and in float32 of filters (C×1×3×3), γ and β. The last three are empty where x is None.
    """
    grad = grad.contiguous(memory_format=torch.channels_last)
    grad_x = picture_like(grad)
    cut = Cut.of(grad, _tile(grad), _PROGRAMS) if x is not None else Cut.of_tiles(grad, _tile(grad))
    channels = cut.channels
    partial = None if x is None else empty(10, cut.chunks, channels, like=grad, dtype=torch.float32)
    launch(
        _backward_kernel,
        cut.over_chunks(),
        {
            "grad_ptr": grad,
            "x_ptr": x,
            "out_ptr": out,
            "filters_ptr": filters,
            "weight_ptr": weight,
            "var_ptr": running_var,
            "grad_x_ptr": grad_x,
            "partial_ptr": partial,
            "slope": slope,
            "eps": eps,
            **cut.sizes,
            **_height_and_width(grad),
            "rows": cut.rows,
            "chunks": cut.chunks,
        },
        ACTIVATION=activation,
        warps=_WARPS,
        **cut.tile,
    )
    grad_filters, grad_weight, grad_bias = empty_gradients(grad, partial is not None)
    if partial is not None:
        cut.combine(
            _combine_kernel,
            {
                "partial_ptr": partial,
                "filters_ptr": filters,
                "weight_ptr": weight,
                "mean_ptr": running_mean,
                "var_ptr": running_var,
                "grad_filters_ptr": grad_filters,
                "grad_weight_ptr": grad_weight,
                "grad_bias_ptr": grad_bias,
                "C": channels,
                "eps": eps,
            },
        )
    return grad_x, grad_filters, grad_weight, grad_bias


def empty_gradients(grad: Tensor, wanted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the gradients of filters, γ and β; for none where they are not wanted."""
    channels, dtype = grad.shape[1] if wanted else 0, accumulation_type(grad.dtype)
    filters = empty(channels, 1, 3, 3, like=grad, dtype=dtype)
    weight, bias = (empty(channels, like=grad, dtype=dtype) for _ in range(2))
    return filters, weight, bias


def _tile(x: Tensor) -> int:
    """Elements of a tile: fewer where channels are no multiple of 16, which Triton loads one by one."""
    return _TILE if x.shape[1] % 16 == 0 else _TILE // 2


def _height_and_width(x: Tensor) -> dict[str, int]:
    return {"H": x.shape[2], "W": x.shape[3]}
