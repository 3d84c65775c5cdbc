"""Triton kernels of batch normalisation with activation and residual sum; `batch_norm_launch` launches them.

A picture batch is the matrix M×C of its positions. In training the forward pass goes over it once for the statistics
and once to apply them. The backward pass goes over it once for two sums over the batch, and once for the gradient.
Normalised values are recomputed, never saved.

In the formulas ``scale = 1/√(variance + ε)``, ``x̂ = (x − mean)·scale``, and f is the activation.
"""

from __future__ import annotations

import triton
import triton.language as tl

from intact_fast.kernels.activations import activated, activation_gradient
from intact_fast.kernels.loading import load_vector, tile_mask, tile_offsets


@triton.jit
def _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE: tl.constexpr):
    """``1/√(variance + ε)`` where ``scale_ptr`` holds variances, else what it holds."""
    scale = tl.load(scale_ptr + c, mask=c < C, other=1.0).to(tl.float32)
    if FROM_VARIANCE:
        scale = 1.0 / tl.sqrt_rn(scale + eps)
    return scale


@triton.jit
def statistics_kernel(
    x_ptr,  # M×C
    mean_partial_ptr,  # chunks×C
    m2_partial_ptr,  # chunks×C, sums of squares about the chunk's mean
    M,
    C,
    rows,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Mean and sum of squares about it of BC channels, over the n rows of one chunk.

    With the shift s, ``mean = s + Σ(x − s)/n`` and ``m2 = Σ(x − s)² − (Σ(x − s))²/n``.
    """
    chunk = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    begin = chunk * rows
    end = tl.minimum(begin + rows, M)
    # Sums about the mean of the chunk's first rows: as exact as two passes unless they are far from all others.
    offsets = tile_offsets(c, C, BM)
    inside = tile_mask(begin, end, c, C, BM)
    x = tl.load(x_ptr + begin * C + offsets, mask=inside, other=0.0).to(tl.float32)
    first = tl.minimum(end - begin, BM).to(tl.float32)
    shift = tl.sum(x, axis=0) / first
    total = tl.zeros((BM, BC), tl.float32)
    squares = tl.zeros((BM, BC), tl.float32)
    for start in range(begin, end, BM):
        inside = tile_mask(start, end, c, C, BM)
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
def combine_statistics_kernel(
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
    """The statistics of BC channels from those of the chunks k of nₖ rows (Chan, Golub and LeVeque, 1983).

    ``mean = Σ nₖ·meanₖ / M`` and ``variance = Σ (m2ₖ + nₖ·(meanₖ − mean)²) / M``; the unbiased one divides by M − 1.
    """
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
def apply_kernel(
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
    """``y = f((x − mean)·scale·γ + β + residual)`` for BM×BC elements."""
    start = tl.program_id(0).to(tl.int64) * BM
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = tile_mask(start, M, c, C, BM)
    start *= C
    offsets = tile_offsets(c, C, BM)
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
    """``grad·f'(y)``: the gradient before the activation.

    The sign of y comes from the output where that was saved, else from ``y = x̂·γ + β``.
    """
    if ACTIVATION != "none":
        if saved_ptr is not None:
            y = tl.load(saved_ptr + start + offsets, mask=inside, other=0.0).to(tl.float32)
        else:
            y = (x - mean[None, :]) * (scale * weight)[None, :] + bias[None, :]
        grad = activation_gradient(grad, y, slope, ACTIVATION)
    return grad


@triton.jit
def backward_sums_kernel(
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
    """The chunk's part of the gradients of β and γ for BC channels.

    With the gradient before the activation ``g = grad·f'(y)``, ``∂L/∂β = Σg`` and ``∂L/∂γ = Σg·x̂``. The residual
    tensor's gradient is g.
    """
    chunk = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mean = load_vector(mean_ptr, c, C, 0.0)
    scale = _inverse_deviation(scale_ptr, c, C, eps, FROM_VARIANCE)
    weight = load_vector(weight_ptr, c, C, 1.0)
    bias = load_vector(bias_ptr, c, C, 0.0)
    begin = chunk * rows
    end = tl.minimum(begin + rows, M)
    offsets = tile_offsets(c, C, BM)
    total = tl.zeros((BM, BC), tl.float32)
    products = tl.zeros((BM, BC), tl.float32)
    for start in range(begin, end, BM):
        inside = tile_mask(start, end, c, C, BM)
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
def combine_sums_kernel(
    partial_ptr,  # 2×chunks×C
    sums_ptr,  # 2×C
    C,
    chunks,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    """``Σ partialₖ`` over the chunks k: the first sum or the second, for BC channels."""
    which = tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    k = tl.arange(0, BP)
    inside = (k[:, None] < chunks) & (c[None, :] < C)
    parts = tl.load(partial_ptr + (which * chunks + k[:, None]) * C + c[None, :], mask=inside, other=0.0)
    tl.store(sums_ptr + which * C + c, tl.sum(parts, axis=0), mask=c < C)


@triton.jit
def backward_apply_kernel(
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
    """The gradient of x for BM×BC elements, from the gradient before the activation ``g = grad·f'(y)``.

    In training ``∂L/∂x = (g − Σg/M − x̂·Σ(g·x̂)/M)·scale·γ``. In eval mode, where the statistics are constants,
    ``∂L/∂x = g·scale·γ``.
    """
    start = tl.program_id(0).to(tl.int64) * BM
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = tile_mask(start, M, c, C, BM)
    start *= C
    offsets = tile_offsets(c, C, BM)
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
