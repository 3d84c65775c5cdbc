"""Triton kernels and launchers of a fully connected layer with batch normalisation.

`linear_bn_act` ends them in ReLU or nothing, `association_losses` in a squared error. The whole batch stands in one
tile, so that each program has the statistics of its own outputs at hand. Products are IEEE float32 (TF32 would be
Triton's default).

A batch of 32 is little work for a GPU, and most of its time is waiting. So a program has few outputs. It sums their
products element by element in few long steps, and across threads once at the end.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.launch import empty, launch, power_of_two
from intact_fast.kernels.linear_bn_layer import Gradients, Kept, LinearBN, Results, Wanted
from intact_fast.kernels.loading import load_vector
from intact_fast.kernels.running_statistics import empty_statistics

TILE_LIMIT = 256
"""Largest batch of one tile; larger ones are computed by PyTorch's own operators."""
_PRODUCT = 32
"""Side of the tiles of the weight's gradient."""
_OUTPUTS = 4
"""Outputs of a layer in one program."""
_COLUMNS = 8
"""Outputs of a layer in one program of the backward pass through its normalisation."""
_SUMMANDS = 1 << 14
"""Most products of one step, over all threads of a program."""
_ROWS = 32
"""Pictures of one program in the gradient of a layer's input."""


@triton.jit
def _forward_kernel(
    x_ptr,  # B×K
    weight_ptr,  # N×K
    gamma_ptr,  # N or None
    beta_ptr,  # N or None
    running_mean_ptr,  # N, or None in training
    running_var_ptr,  # N, or None in training
    target_ptr,  # B×N or None
    out_ptr,  # B×N; with a target: one part of the loss per program
    z_ptr,  # B×N, before the normalisation
    mean_ptr,  # N or None in eval mode
    scale_ptr,  # N or None in eval mode
    variance_ptr,  # N, unbiased, or None in eval mode
    eps,
    B,
    K,
    N,
    RELU: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """``z = x·Wᵀ`` and ``y = f((z − mean)·scale·γ + β)`` for BN outputs and the whole batch.

    In training ``mean = Σz / B``, ``variance = Σ(z − mean)² / B`` and ``scale = 1/√(variance + ε)``. In eval mode they
    come from the running statistics. With a target the program gives its part of ``Σ(y − target)² / (B·N)`` instead.
    """
    b = tl.arange(0, BB)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = (b[:, None] < B) & (n[None, :] < N)
    products = tl.zeros((BB, BN, BK), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(x_ptr + b[:, None] * K + k[None, :], mask=(b[:, None] < B) & (k[None, :] < K), other=0.0)
        w = tl.load(
            weight_ptr + n.to(tl.int64)[:, None] * K + k[None, :],
            mask=(n[:, None] < N) & (k[None, :] < K),
            other=0.0,
        )
        products += x.to(tl.float32)[:, None, :] * w.to(tl.float32)[None, :, :]
    z = tl.sum(products, axis=2)
    offsets = b[:, None] * N + n[None, :]
    tl.store(z_ptr + offsets, z, mask=inside)
    if mean_ptr is not None:
        mean = tl.sum(z, axis=0) / B
        difference = tl.where(b[:, None] < B, z - mean[None, :], 0.0)
        squares = tl.sum(difference * difference, axis=0)
        scale = 1.0 / tl.sqrt_rn(squares / B + eps)
        tl.store(mean_ptr + n, mean, mask=n < N)
        tl.store(scale_ptr + n, scale, mask=n < N)
        tl.store(variance_ptr + n, squares / (B - 1), mask=n < N)
    else:
        mean = load_vector(running_mean_ptr, n, N, 0.0)
        scale = 1.0 / tl.sqrt_rn(load_vector(running_var_ptr, n, N, 1.0) + eps)
    gamma = load_vector(gamma_ptr, n, N, 1.0)
    y = (z - mean[None, :]) * (scale * gamma)[None, :] + load_vector(beta_ptr, n, N, 0.0)[None, :]
    if RELU:
        y = tl.where(y <= 0, 0.0, y)
    if target_ptr is not None:
        error = y - tl.load(target_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        error = tl.where(inside, error, 0.0)
        tl.store(out_ptr + tl.program_id(0), tl.sum(error * error) / B / N)
    else:
        tl.store(out_ptr + offsets, y.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad_ptr,  # B×N; with a target: a scalar
    target_ptr,  # B×N or None
    z_ptr,  # B×N
    gamma_ptr,  # N or None
    beta_ptr,  # N or None
    mean_ptr,  # N
    scale_ptr,  # N: 1/deviation in training, the running variance in eval mode
    grad_z_ptr,  # B×N
    grad_gamma_ptr,  # N
    grad_beta_ptr,  # N
    grad_target_ptr,  # B×N or None
    eps,
    B,
    N,
    TRAINING: tl.constexpr,
    RELU: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
):
    """The gradient of z for BN outputs, with ``ẑ = (z − mean)·scale`` and ``y = ẑ·γ + β`` from the kept z.

    The gradient of y is ``g = grad·f'(y)``, and with a target ``g = grad·2(y − target)/(B·N)``; the target's is −g.
    Those of β and γ are ``Σg`` and ``Σg·ẑ`` over the batch. In training ``∂L/∂z = (g − Σg/B − ẑ·Σ(g·ẑ)/B)·scale·γ``.
    In eval mode, where the statistics are constants, ``∂L/∂z = g·scale·γ``.
    """
    b = tl.arange(0, BB)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = (b[:, None] < B) & (n[None, :] < N)
    offsets = b[:, None] * N + n[None, :]
    mean = load_vector(mean_ptr, n, N, 0.0)
    scale = load_vector(scale_ptr, n, N, 1.0)
    if not TRAINING:
        scale = 1.0 / tl.sqrt_rn(scale + eps)
    gamma = load_vector(gamma_ptr, n, N, 1.0)
    z = tl.load(z_ptr + offsets, mask=inside, other=0.0)
    normalised = tl.where(inside, (z - mean[None, :]) * scale[None, :], 0.0)
    y = normalised * gamma[None, :] + load_vector(beta_ptr, n, N, 0.0)[None, :]
    if target_ptr is not None:
        target = tl.load(target_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr).to(tl.float32) * 2.0 / B / N * (y - target)
        if grad_target_ptr is not None:
            tl.store(grad_target_ptr + offsets, (-grad).to(grad_target_ptr.dtype.element_ty), mask=inside)
        grad = tl.where(inside, grad, 0.0)
    else:
        grad = tl.load(grad_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        grad = tl.where(y <= 0, 0.0, grad)
    of_beta = tl.sum(grad, axis=0)
    of_gamma = tl.sum(grad * normalised, axis=0)
    tl.store(grad_beta_ptr + n, of_beta, mask=n < N)
    tl.store(grad_gamma_ptr + n, of_gamma, mask=n < N)
    if TRAINING:
        grad = grad - (of_beta / B)[None, :] - normalised * (of_gamma / B)[None, :]
    grad = tl.where(inside, grad * (scale * gamma)[None, :], 0.0)
    tl.store(grad_z_ptr + offsets, grad, mask=inside)


@triton.jit
def _products_kernel(
    grad_z_ptr,  # B×N
    x_ptr,  # B×K
    weight_ptr,  # N×K
    grad_weight_ptr,  # N×K or None
    grad_x_ptr,  # B×K or None
    B,
    K,
    N,
    weight_tiles,
    T: tl.constexpr,
    BB: tl.constexpr,
    BK: tl.constexpr,
    BN: tl.constexpr,
):
    """``∂L/∂W = (∂L/∂z)ᵀ·x`` and ``∂L/∂x = ∂L/∂z·W``, side by side in one launch.

    The first ``weight_tiles`` programs compute T×T of the weight's gradient each, the others BB×BK of x's.
    """
    program = tl.program_id(0)
    if program < weight_tiles:
        if grad_weight_ptr is not None:
            columns = tl.cdiv(K, T)
            i = tl.arange(0, T)
            total = tl.zeros((T, T), tl.float32)
            n = (program // columns) * T + i
            k = (program % columns) * T + i
            for start in range(0, B, T):
                b = start + i
                grad = tl.load(
                    grad_z_ptr + b[None, :] * N + n[:, None],
                    mask=(b[None, :] < B) & (n[:, None] < N),
                    other=0.0,
                )
                x = tl.load(x_ptr + b[:, None] * K + k[None, :], mask=(b[:, None] < B) & (k[None, :] < K), other=0.0)
                total = tl.dot(grad, x.to(tl.float32), total, input_precision="ieee")
            tl.store(
                grad_weight_ptr + n.to(tl.int64)[:, None] * K + k[None, :],
                total.to(grad_weight_ptr.dtype.element_ty),
                mask=(n[:, None] < N) & (k[None, :] < K),
            )
    else:
        if grad_x_ptr is not None:
            blocks = tl.cdiv(K, BK)
            row = ((program - weight_tiles) // blocks) * BB + tl.arange(0, BB)
            column = ((program - weight_tiles) % blocks) * BK + tl.arange(0, BK)
            products = tl.zeros((BB, BN, BK), tl.float32)
            for begin in range(0, N, BN):
                output = begin + tl.arange(0, BN)
                of_output = tl.load(
                    grad_z_ptr + row[:, None] * N + output[None, :],
                    mask=(row[:, None] < B) & (output[None, :] < N),
                    other=0.0,
                )
                w = tl.load(
                    weight_ptr + output.to(tl.int64)[:, None] * K + column[None, :],
                    mask=(output[:, None] < N) & (column[None, :] < K),
                    other=0.0,
                )
                products += of_output[:, :, None] * w.to(tl.float32)[None, :, :]
            tl.store(
                grad_x_ptr + row[:, None] * K + column[None, :],
                tl.sum(products, axis=1).to(grad_x_ptr.dtype.element_ty),
                mask=(row[:, None] < B) & (column[None, :] < K),
            )


def _tile(batch: int) -> dict[str, int]:
    """The configuration of a batch."""
    rows = power_of_two(batch, 16, TILE_LIMIT)
    return {"BB": rows, "BN": _OUTPUTS, "BK": min(_SUMMANDS // (rows * _OUTPUTS), 128), "warps": 8}


def _vectors(layer: LinearBN) -> dict[str, Tensor | None]:
    return {"gamma_ptr": layer.gamma, "beta_ptr": layer.beta}


def launch_forward(x: Tensor, layer: LinearBN, target: Tensor | None, *, training: bool, relu: bool) -> Results:
    """Launch one layer; with a target the first result holds the loss in parts, whose sum it is."""
    (batch, inputs), outputs, tile = x.shape, len(layer.weight), _tile(len(x))
    programs = triton.cdiv(outputs, tile["BN"])
    out = empty(batch, outputs, like=x) if target is None else empty(programs, like=x, dtype=torch.float32)
    z = empty(batch, outputs, like=x, dtype=torch.float32)
    mean, scale, variance = empty_statistics(x, outputs, training)
    launch(
        _forward_kernel,
        (programs,),
        {
            "x_ptr": x.contiguous(),
            "weight_ptr": layer.weight.contiguous(),
            **_vectors(layer),
            "running_mean_ptr": None if training else layer.running_mean,
            "running_var_ptr": None if training else layer.running_var,
            "target_ptr": None if target is None else target.contiguous(),
            "out_ptr": out,
            "z_ptr": z,
            "mean_ptr": mean if training else None,
            "scale_ptr": scale if training else None,
            "variance_ptr": variance if training else None,
            "eps": layer.eps,
            "B": batch,
            "K": inputs,
            "N": outputs,
        },
        RELU=relu,
        **tile,
    )
    return out, z, mean, scale, variance


def launch_backward(
    grad: Tensor,
    x: Tensor,
    layer: LinearBN,
    kept: Kept,
    target: Tensor | None,
    *,
    training: bool,
    relu: bool,
    wanted: Wanted,
) -> Gradients:
    """Launch one layer's backward pass: through the normalisation, then both products side by side."""
    batch, outputs, tile = len(x), len(layer.weight), _tile(len(x))
    grad_z = empty(batch, outputs, like=x, dtype=torch.float32)
    grad_target = empty(batch, outputs, like=target) if target is not None and wanted.target else None
    sums = empty(2, outputs, like=x, dtype=torch.float32)
    launch(
        _backward_kernel,
        (triton.cdiv(outputs, _COLUMNS),),
        {
            "grad_ptr": grad.contiguous(),
            "target_ptr": None if target is None else target.contiguous(),
            "z_ptr": kept.z,
            **_vectors(layer),
            "mean_ptr": kept.mean,
            "scale_ptr": kept.scale,
            "grad_z_ptr": grad_z,
            "grad_gamma_ptr": sums[1],
            "grad_beta_ptr": sums[0],
            "grad_target_ptr": grad_target,
            "eps": layer.eps,
            "B": batch,
            "N": outputs,
        },
        TRAINING=training,
        RELU=relu,
        BB=tile["BB"],
        BN=_COLUMNS,
        warps=power_of_two(tile["BB"] // 16, 4, 8),
    )
    grad_x, grad_weight = _launch_products(grad_z, x, layer.weight, wanted)
    return grad_x, grad_weight, sums, x.new_empty(0) if grad_target is None else grad_target


def _launch_products(grad_z: Tensor, x: Tensor, weight: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight; no launch where neither is asked for."""
    (batch, inputs), outputs = x.shape, len(weight)
    weight_tiles = triton.cdiv(inputs, _PRODUCT) * triton.cdiv(outputs, _PRODUCT) if wanted.weight else 0
    input_tiles = triton.cdiv(inputs, _OUTPUTS) * triton.cdiv(batch, _ROWS) if wanted.x else 0
    grad_weight = empty(outputs, inputs, like=weight) if wanted.weight else None
    grad_x = empty(batch, inputs, like=x) if wanted.x else None
    if weight_tiles + input_tiles > 0:
        launch(
            _products_kernel,
            (weight_tiles + input_tiles,),
            {
                "grad_z_ptr": grad_z,
                "x_ptr": x.contiguous(),
                "weight_ptr": weight.contiguous(),
                "grad_weight_ptr": grad_weight,
                "grad_x_ptr": grad_x,
                "B": batch,
                "K": inputs,
                "N": outputs,
                "weight_tiles": weight_tiles,
            },
            warps=8,
            T=_PRODUCT,
            BB=_ROWS,
            BK=_OUTPUTS,
            BN=_SUMMANDS // (_ROWS * _OUTPUTS),
        )
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        weight.new_empty(0) if grad_weight is None else grad_weight,
    )
