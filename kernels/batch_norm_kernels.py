"""Triton kernels and launchers of batch normalisation with activation and residual sum.

Training: one pass for the statistics, one to apply them; backward one pass for the two sums over the batch and one for
the gradient. Normalised values are recomputed, never saved. A picture batch is the matrix M×C of its positions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.activations import activated, activation_gradient
from intact_fast.kernels.launch import empty, launch, power_of_two
from intact_fast.kernels.loading import load_vector
from intact_fast.kernels.registration import accumulation_type

_TILE, _WARPS = 4096, 8
_PROGRAMS = 256
"""At most, in a pass that looks through all rows: about two for each multiprocessor of an H100."""
_COMBINED = 8
"""Channels of which one program combines the chunks' results, all chunks in one tile."""


@triton.jit
def _tile_offsets(c, C, BM: tl.constexpr):
    """32-bit offsets [BM, BC] within a tile; that of the tile itself has 64 bits."""
    return tl.arange(0, BM)[:, None] * C + c[None, :]


@triton.jit
def _inside(start, end, c, C, BM: tl.constexpr):
    left = tl.minimum(end - start, BM).to(tl.int32)
    return (tl.arange(0, BM)[:, None] < left) & (c[None, :] < C)


@triton.jit
def _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE: tl.constexpr):
    scale = tl.load(scale_ptr + c, mask=c < C, other=1.0).to(tl.float32)
    if FROM_VARIANCE:
        scale = 1.0 / tl.sqrt_rn(scale + eps)
    return scale


@triton.jit
def _statistics_kernel(
    x_ptr,  # M×C
    mean_partial_ptr,  # chunks×C
    m2_partial_ptr,  # chunks×C, sums of squares about the chunk's mean
    M,
    C,
    rows,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    begin = chunk * rows
    end = tl.minimum(begin + rows, M)
    # Sums about the mean of the chunk's first rows: as exact as two passes unless they are far from all others.
    offsets = _tile_offsets(c, C, BM)
    inside = _inside(begin, end, c, C, BM)
    x = tl.load(x_ptr + begin * C + offsets, mask=inside, other=0.0).to(tl.float32)
    first = tl.minimum(end - begin, BM).to(tl.float32)
    shift = tl.sum(x, axis=0) / first
    total = tl.zeros((BM, BC), tl.float32)
    squares = tl.zeros((BM, BC), tl.float32)
    for start in range(begin, end, BM):
        inside = _inside(start, end, c, C, BM)
        x = tl.load(x_ptr + start * C + offsets, mask=inside, other=0.0).to(tl.float32)
        difference = tl.where(inside, x - shift[None, :], 0.0)
        total += difference
        squares += difference * difference
    offset = tl.sum(total, axis=0)
    count = (end - begin).to(tl.float32)
    m2 = tl.maximum(tl.sum(squares, axis=0) - offset * offset / count, 0.0)
    tl.store(mean_partial_ptr + chunk * C + c, shift + offset / count, mask=c < C)
    tl.store(m2_partial_ptr + chunk * C + c, m2, mask=c < C)


@triton.jit
def _combine_statistics_kernel(
    mean_partial_ptr,  # chunks×C
    m2_partial_ptr,  # chunks×C
    mean_ptr,  # C
    scale_ptr,  # C, 1 / sqrt(variance + eps)
    variance_ptr,  # C, unbiased
    M,
    C,
    rows,
    chunks,
    eps,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    k = tl.arange(0, BP)
    inside = (k[:, None] < chunks) & (c[None, :] < C)
    mean = tl.load(mean_partial_ptr + k[:, None] * C + c[None, :], mask=inside, other=0.0)
    within = tl.load(m2_partial_ptr + k[:, None] * C + c[None, :], mask=inside, other=0.0)
    count = tl.minimum(M - k.to(tl.int64) * rows, rows).to(tl.float32)
    # differences from one chunk's mean keep the digits that the mean itself would take
    shift = tl.load(mean_partial_ptr + c, mask=c < C, other=0.0)
    parts = tl.where(inside, (mean - shift[None, :]) * (count[:, None] / M), 0.0)
    overall = shift + tl.sum(parts, axis=0)
    difference = mean - overall[None, :]
    squares = tl.sum(tl.where(inside, within + count[:, None] * difference * difference, 0.0), axis=0)
    tl.store(mean_ptr + c, overall, mask=c < C)
    tl.store(scale_ptr + c, 1.0 / tl.sqrt_rn(squares / M + eps), mask=c < C)
    tl.store(variance_ptr + c, squares / tl.maximum(M - 1, 1), mask=c < C)


@triton.jit
def _apply_kernel(
    x_ptr,  # M×C
    residual_ptr,  # M×C or None
    mean_ptr,  # C
    scale_ptr,  # C
    weight_ptr,  # C or None
    bias_ptr,  # C or None
    out_ptr,  # M×C
    slope,
    eps,
    M,
    C,
    ACTIVATION: tl.constexpr,
    FROM_VARIANCE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * BM
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = _inside(start, M, c, C, BM)
    start *= C
    offsets = _tile_offsets(c, C, BM)
    scale = _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE) * load_vector(weight_ptr, c, C, 1.0)
    mean = load_vector(mean_ptr, c, C, 0.0)
    x = tl.load(x_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
    y = (x - mean[None, :]) * scale[None, :] + load_vector(bias_ptr, c, C, 0.0)[None, :]
    if residual_ptr is not None:
        y += tl.load(residual_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
    y = activated(y, slope, ACTIVATION)
    tl.store(out_ptr + start + offsets, y.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _before_activation(
    grad, x, saved_ptr, start, offsets, inside, mean, scale, weight, bias, slope, ACTIVATION: tl.constexpr
):
    """Gradient before the activation; its sign comes from the output where that was saved, else from x again."""
    if ACTIVATION != "none":
        if saved_ptr is not None:
            y = tl.load(saved_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
        else:
            y = (x - mean[None, :]) * (scale * weight)[None, :] + bias[None, :]
        grad = activation_gradient(grad, y, slope, ACTIVATION)
    return grad


@triton.jit
def _backward_sums_kernel(
    grad_ptr,  # M×C
    x_ptr,  # M×C
    saved_ptr,  # M×C, the output, or None
    mean_ptr,  # C
    scale_ptr,  # C
    weight_ptr,  # C or None
    bias_ptr,  # C or None
    grad_y_ptr,  # M×C, the gradient before the activation, or None where it is not kept
    partial_ptr,  # 2×chunks×C
    slope,
    eps,
    M,
    C,
    rows,
    chunks,
    ACTIVATION: tl.constexpr,
    FROM_VARIANCE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mean = load_vector(mean_ptr, c, C, 0.0)
    scale = _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE)
    weight = load_vector(weight_ptr, c, C, 1.0)
    bias = load_vector(bias_ptr, c, C, 0.0)
    begin = chunk * rows
    end = tl.minimum(begin + rows, M)
    offsets = _tile_offsets(c, C, BM)
    total = tl.zeros((BM, BC), tl.float32)
    products = tl.zeros((BM, BC), tl.float32)
    for start in range(begin, end, BM):
        inside = _inside(start, end, c, C, BM)
        grad = tl.load(grad_ptr + start * C + offsets, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + start * C + offsets, mask=inside, other=0.0).to(tl.float32)
        grad = _before_activation(
            grad, x, saved_ptr, start * C, offsets, inside, mean, scale, weight, bias, slope, ACTIVATION
        )
        if grad_y_ptr is not None:
            tl.store(grad_y_ptr + start * C + offsets, grad.to(grad_y_ptr.dtype.element_ty), mask=inside)
        grad = tl.where(inside, grad, 0.0)
        total += grad
        products += grad * (x - mean[None, :])
    tl.store(partial_ptr + chunk * C + c, tl.sum(total, axis=0), mask=c < C)
    tl.store(partial_ptr + (chunks + chunk) * C + c, tl.sum(products, axis=0) * scale, mask=c < C)


@triton.jit
def _combine_sums_kernel(
    partial_ptr,  # 2×chunks×C
    sums_ptr,  # 2×C
    C,
    chunks,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    which = tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    k = tl.arange(0, BP)
    inside = (k[:, None] < chunks) & (c[None, :] < C)
    parts = tl.load(partial_ptr + (which * chunks + k[:, None]) * C + c[None, :], mask=inside, other=0.0)
    tl.store(sums_ptr + which * C + c, tl.sum(parts, axis=0), mask=c < C)


@triton.jit
def _backward_apply_kernel(
    grad_ptr,  # M×C
    x_ptr,  # M×C
    saved_ptr,  # M×C, the output, or None
    mean_ptr,  # C
    scale_ptr,  # C
    weight_ptr,  # C or None
    bias_ptr,  # C or None
    sums_ptr,  # 2×C: gradients of bias and weight, or None in eval mode
    grad_x_ptr,  # M×C
    grad_y_ptr,  # M×C or None where it is not asked for here
    slope,
    eps,
    M,
    C,
    ACTIVATION: tl.constexpr,
    FROM_VARIANCE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * BM
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = _inside(start, M, c, C, BM)
    start *= C
    offsets = _tile_offsets(c, C, BM)
    mean = load_vector(mean_ptr, c, C, 0.0)
    scale = _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE)
    weight = load_vector(weight_ptr, c, C, 1.0)
    bias = load_vector(bias_ptr, c, C, 0.0)
    grad = tl.load(grad_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
    grad = _before_activation(grad, x, saved_ptr, start, offsets, inside, mean, scale, weight, bias, slope, ACTIVATION)
    if grad_y_ptr is not None:
        tl.store(grad_y_ptr + start + offsets, grad.to(grad_y_ptr.dtype.element_ty), mask=inside)
    if sums_ptr is not None:
        of_bias = tl.load(sums_ptr + c, mask=c < C, other=0.0) / M
        of_weight = tl.load(sums_ptr + C + c, mask=c < C, other=0.0) / M
        grad -= of_bias[None, :] + (x - mean[None, :]) * (scale * of_weight)[None, :]
    grad *= (scale * weight)[None, :]
    tl.store(grad_x_ptr + start + offsets, grad.to(grad_x_ptr.dtype.element_ty), mask=inside)


def _tile(channels: int) -> dict[str, int]:
    block = power_of_two(channels, 8, 128)
    return {"BC": block, "BM": min(_TILE // block, 128)}


def _chunks(positions: int, channels: int, tile: dict[str, int]) -> tuple[int, int]:
    """Rows of the matrix per chunk and the number of chunks.

    As many as fill the device: every chunk more is one more for the programs that combine them.
    """
    wanted = max(_PROGRAMS // triton.cdiv(channels, tile["BC"]), 1)
    rows = triton.cdiv(triton.cdiv(positions, tile["BM"]), wanted) * tile["BM"]
    return rows, triton.cdiv(positions, rows)


def _combining(chunks: int) -> dict[str, int]:
    """The configuration of a kernel that combines chunks."""
    assert chunks <= 1024
    return {"BP": power_of_two(chunks, 16, 1024), "BC": _COMBINED, "warps": 8 if chunks > 128 else 4}


def positions_of(x: Tensor) -> int:
    """Rows M of the matrix that N×C×H×W pictures are."""
    return x.shape[0] * x.shape[2] * x.shape[3]


def picture_like(x: Tensor) -> Tensor:
    """Room for pictures of x's shape and type, channels-last."""
    return empty(*x.shape, like=x, channels_last=True)


def statistics_like(x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Room for mean, scale and unbiased variance; empty in eval mode."""
    size, dtype = x.shape[1] if training else 0, accumulation_type(x.dtype)
    return tuple(empty(size, like=x, dtype=dtype) for _ in range(3))  # type: ignore[return-value]


def forward_triton(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the forward pass; returns the output and, in training, mean, 1/deviation and unbiased variance."""
    channels, positions, tile = x.shape[1], positions_of(x), _tile(x.shape[1])
    out = picture_like(x)
    mean, scale, variance = statistics_like(x, training)
    blocks = triton.cdiv(channels, tile["BC"])
    if training:
        rows, chunks = _chunks(positions, channels, tile)
        mean_partial = empty(chunks, channels, like=x, dtype=torch.float32)
        m2_partial = empty(chunks, channels, like=x, dtype=torch.float32)
        sizes = {"M": positions, "C": channels, "rows": rows}
        partials = {"mean_partial_ptr": mean_partial, "m2_partial_ptr": m2_partial}
        launch(_statistics_kernel, (chunks, blocks), {"x_ptr": x, **partials, **sizes}, warps=_WARPS, **tile)
        vectors = {"mean_ptr": mean, "scale_ptr": scale, "variance_ptr": variance}
        launch(
            _combine_statistics_kernel,
            (triton.cdiv(channels, _COMBINED),),
            {**partials, **vectors, **sizes, "chunks": chunks, "eps": eps},
            **_combining(chunks),
        )
    launch(
        _apply_kernel,
        (triton.cdiv(positions, tile["BM"]), blocks),
        {
            "x_ptr": x,
            "residual_ptr": residual,
            "mean_ptr": mean if training else running_mean,
            "scale_ptr": scale if training else running_var,
            "weight_ptr": weight,
            "bias_ptr": bias,
            "out_ptr": out,
            "slope": slope,
            "eps": eps,
            "M": positions,
            "C": channels,
        },
        ACTIVATION=activation,
        FROM_VARIANCE=not training,
        warps=_WARPS,
        **tile,
    )
    return out, mean, scale, variance


def backward_triton(
    grad: Tensor,
    x: Tensor,
    saved: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    activation: str,
    slope: float,
    needs_sums: bool,
    needs_residual: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the backward pass.

    ``scale`` is 1/deviation in training, the running variance in eval mode; ``saved`` is the output where x alone does
    not tell the sign. Returns the gradients of x, of the residual tensor, and 2×C float32: of bias and of weight.
    """
    channels, positions, tile = x.shape[1], positions_of(x), _tile(x.shape[1])
    blocks = triton.cdiv(channels, tile["BC"])
    grad = grad.contiguous(memory_format=torch.channels_last)
    grad_x = picture_like(x)
    grad_y = picture_like(x) if needs_residual else None
    vectors = {"mean_ptr": mean, "scale_ptr": scale, "weight_ptr": weight, "bias_ptr": bias}
    scalars = {"slope": slope, "eps": eps, "M": positions, "C": channels}
    constants = {"ACTIVATION": activation, "FROM_VARIANCE": not training, "warps": _WARPS, **tile}
    sums = None
    if training or needs_sums:
        rows, chunks = _chunks(positions, channels, tile)
        partial = empty(2, chunks, channels, like=x, dtype=torch.float32)
        launch(
            _backward_sums_kernel,
            (chunks, blocks),
            {
                "grad_ptr": grad,
                "x_ptr": x,
                "saved_ptr": saved,
                **vectors,
                "grad_y_ptr": grad_y,
                "partial_ptr": partial,
                **scalars,
                "rows": rows,
                "chunks": chunks,
            },
            **constants,
        )
        sums = empty(2, channels, like=x, dtype=torch.float32)
        launch(
            _combine_sums_kernel,
            (triton.cdiv(channels, _COMBINED), 2),
            {"partial_ptr": partial, "sums_ptr": sums, "C": channels, "chunks": chunks},
            **_combining(chunks),
        )
    first_pass_kept_it = sums is not None and grad_y is not None
    if first_pass_kept_it:
        # the second pass reads what the first one wrote instead of two tensors
        grad, saved, constants = grad_y, None, {**constants, "ACTIVATION": "none"}
    launch(
        _backward_apply_kernel,
        (triton.cdiv(positions, tile["BM"]), blocks),
        {
            "grad_ptr": grad,
            "x_ptr": x,
            "saved_ptr": saved,
            **vectors,
            "sums_ptr": sums if training else None,
            "grad_x_ptr": grad_x,
            "grad_y_ptr": None if first_pass_kept_it else grad_y,
            **scalars,
        },
        **constants,
    )
    nothing = x.new_empty(0)
    return (
        grad_x,
        nothing if grad_y is None else grad_y,
        x.new_empty(2, 0, dtype=torch.float32) if sums is None else sums,
    )
