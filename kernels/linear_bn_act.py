"""A fully connected layer, batch normalisation and ReLU in one launch: a layer of φ or σ.

The whole batch stands in one tile, so that each program has the statistics of its own outputs at hand. Products are
IEEE float32 (TF32 would be Triton's default). `association_losses` ends the same kernels in a squared error.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from intact_fast.kernels.activations import check_activation
from intact_fast.kernels.choice import check_tensor, check_vector
from intact_fast.kernels.launch import empty, launch, power_of_two
from intact_fast.kernels.loading import load_vector
from intact_fast.kernels.registration import accumulation_type, register
from intact_fast.kernels.running_statistics import running_variance, update_running_statistics

TILE_LIMIT = 256
"""Largest batch of one tile; larger ones are computed by PyTorch's own operators."""
_PRODUCT = 32


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
    b = tl.arange(0, BB)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = (b[:, None] < B) & (n[None, :] < N)
    z = tl.zeros((BB, BN), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(x_ptr + b[:, None] * K + k[None, :], mask=(b[:, None] < B) & (k[None, :] < K), other=0.0)
        w = tl.load(
            weight_ptr + n.to(tl.int64)[None, :] * K + k[:, None],
            mask=(n[None, :] < N) & (k[:, None] < K),
            other=0.0,
        )
        z = tl.dot(x.to(tl.float32), w.to(tl.float32), z, input_precision="ieee")
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
):
    """The first ``weight_tiles`` programs compute T×T of the weight's gradient each, the others T×T of x's."""
    program = tl.program_id(0)
    columns = tl.cdiv(K, T)
    i = tl.arange(0, T)
    total = tl.zeros((T, T), tl.float32)
    if program < weight_tiles:
        if grad_weight_ptr is not None:
            n = (program // columns) * T + i
            k = (program % columns) * T + i
            for start in range(0, B, T):
                b = start + i
                grad = tl.load(
                    grad_z_ptr + b[None, :] * N + n[:, None],
                    mask=(b[None, :] < B) & (n[:, None] < N),
                    other=0.0,
                )
                x = tl.load(
                    x_ptr + b[:, None] * K + k[None, :], mask=(b[:, None] < B) & (k[None, :] < K), other=0.0
                )
                total = tl.dot(grad, x.to(tl.float32), total, input_precision="ieee")
            tl.store(
                grad_weight_ptr + n.to(tl.int64)[:, None] * K + k[None, :],
                total.to(grad_weight_ptr.dtype.element_ty),
                mask=(n[:, None] < N) & (k[None, :] < K),
            )
    else:
        if grad_x_ptr is not None:
            b = ((program - weight_tiles) // columns) * T + i
            k = ((program - weight_tiles) % columns) * T + i
            for start in range(0, N, T):
                n = start + i
                grad = tl.load(
                    grad_z_ptr + b[:, None] * N + n[None, :],
                    mask=(b[:, None] < B) & (n[None, :] < N),
                    other=0.0,
                )
                w = tl.load(
                    weight_ptr + n.to(tl.int64)[:, None] * K + k[None, :],
                    mask=(n[:, None] < N) & (k[None, :] < K),
                    other=0.0,
                )
                total = tl.dot(grad, w.to(tl.float32), total, input_precision="ieee")
            tl.store(
                grad_x_ptr + b[:, None] * K + k[None, :],
                total.to(grad_x_ptr.dtype.element_ty),
                mask=(b[:, None] < B) & (k[None, :] < K),
            )


def _tile(batch: int) -> dict[str, int]:
    """The configuration of a batch: warps grow with it, so that each thread's part of the tile stays small."""
    rows = power_of_two(batch, 16, TILE_LIMIT)
    return {"BB": rows, "BN": 16, "BK": 32, "warps": power_of_two(rows // 16, 2, 8)}


def launch_forward(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    target: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Launch one layer; returns output (or parts of the loss), z, and in training mean, 1/deviation, variance."""
    (batch, inputs), outputs, tile = x.shape, weight.shape[0], _tile(x.shape[0])
    programs = triton.cdiv(outputs, tile["BN"])
    out = empty(batch, outputs, like=x) if target is None else empty(programs, like=x, dtype=torch.float32)
    z = empty(batch, outputs, like=x, dtype=torch.float32)
    mean, scale, variance = (empty(outputs if training else 0, like=x, dtype=torch.float32) for _ in range(3))
    launch(
        _forward_kernel,
        (programs,),
        {
            "x_ptr": x.contiguous(),
            "weight_ptr": weight.contiguous(),
            "gamma_ptr": gamma,
            "beta_ptr": beta,
            "running_mean_ptr": None if training else running_mean,
            "running_var_ptr": None if training else running_var,
            "target_ptr": None if target is None else target.contiguous(),
            "out_ptr": out,
            "z_ptr": z,
            "mean_ptr": mean if training else None,
            "scale_ptr": scale if training else None,
            "variance_ptr": variance if training else None,
            "eps": eps,
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
    target: Tensor | None,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    relu: bool,
    needs_x: bool,
    needs_weight: bool,
    needs_target: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch one layer's backward pass: through the normalisation, then both products side by side.

    Returns:
        Gradients of x, of the weight, 2×N float32 of β and γ, and of the target; the first two and the last are
        empty where not asked for.
    """
    (batch, inputs), outputs, tile = x.shape, weight.shape[0], _tile(x.shape[0])
    grad_z = empty(batch, outputs, like=x, dtype=torch.float32)
    grad_weight = empty(outputs, inputs, like=weight) if needs_weight else None
    grad_target = empty(batch, outputs, like=target) if target is not None and needs_target else None
    sums = empty(2, outputs, like=x, dtype=torch.float32)
    launch(
        _backward_kernel,
        (triton.cdiv(outputs, tile["BN"]),),
        {
            "grad_ptr": grad.contiguous(),
            "target_ptr": None if target is None else target.contiguous(),
            "z_ptr": z,
            "gamma_ptr": gamma,
            "beta_ptr": beta,
            "mean_ptr": mean,
            "scale_ptr": scale,
            "grad_z_ptr": grad_z,
            "grad_gamma_ptr": sums[1],
            "grad_beta_ptr": sums[0],
            "grad_target_ptr": grad_target,
            "eps": eps,
            "B": batch,
            "N": outputs,
        },
        TRAINING=training,
        RELU=relu,
        BB=tile["BB"],
        BN=tile["BN"],
        warps=tile["warps"],
    )
    columns = triton.cdiv(inputs, _PRODUCT)
    weight_tiles = columns * triton.cdiv(outputs, _PRODUCT) if needs_weight else 0
    input_tiles = columns * triton.cdiv(batch, _PRODUCT) if needs_x else 0
    grad_x = empty(batch, inputs, like=x) if needs_x else None
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
        )
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        weight.new_empty(0) if grad_weight is None else grad_weight,
        sums,
        x.new_empty(0) if grad_target is None else grad_target,
    )


def plain_forward(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One layer in PyTorch on any device: y in the accumulation type, z, mean, 1/deviation, variance."""
    dtype = accumulation_type(x.dtype)
    z = x.to(dtype) @ weight.to(dtype).T
    if training:
        biased, mean = torch.var_mean(z, dim=0, correction=0)
        scale, variance = torch.rsqrt(biased + eps), running_variance(biased, len(x))
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, scale, variance = (z.new_empty(0) for _ in range(3))
    used_mean = mean if training else running_mean.to(dtype)  # type: ignore[union-attr]
    used_scale = scale if training else torch.rsqrt(running_var.to(dtype) + eps)  # type: ignore[union-attr]
    y = (z - used_mean) * (used_scale * _or(gamma, 1.0, dtype)) + _or(beta, 0.0, dtype)
    return torch.relu(y) if relu else y, z, mean, scale, variance


def plain_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer's backward pass in PyTorch from the gradient before ReLU: of x, of the weight, 2×N of β and γ."""
    dtype = z.dtype
    deviation = scale if training else torch.rsqrt(scale.to(dtype) + eps)
    normalised = (z - mean.to(dtype)) * deviation
    sums = torch.stack([grad_y.sum(dim=0), (grad_y * normalised).sum(dim=0)])
    if training:
        grad_y = grad_y - sums[0] / len(x) - normalised * (sums[1] / len(x))
    grad_z = grad_y * (deviation * _or(gamma, 1.0, dtype))
    return (
        (grad_z @ weight.to(dtype)).to(x.dtype) if needs_x else x.new_empty(0),
        (grad_z.T @ x.to(dtype)).to(weight.dtype) if needs_weight else weight.new_empty(0),
        sums,
    )


def normalised_output(
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    training: bool,
    eps: float,
) -> Tensor:
    """The output before ReLU, again from z, in PyTorch."""
    deviation = scale if training else torch.rsqrt(scale.to(z.dtype) + eps)
    return (z - mean.to(z.dtype)) * (deviation * _or(gamma, 1.0, z.dtype)) + _or(beta, 0.0, z.dtype)


def _or(vector: Tensor | None, default: float, dtype: torch.dtype) -> Tensor | float:
    return default if vector is None else vector.to(dtype)


Layer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def forward_cpu(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> Layer:
    """Compute the forward pass in PyTorch."""
    y, *rest = plain_forward(x, weight, gamma, beta, running_mean, running_var, training, eps, relu)
    # a new tensor even where nothing is converted: results may not share memory with each other
    return (y.to(x.dtype, copy=True), *rest)  # type: ignore[return-value]


def forward_triton(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> Layer:
    """Launch the forward pass, or leave a batch beyond the tile to PyTorch."""
    if len(x) > TILE_LIMIT:
        return forward_cpu(x, weight, gamma, beta, running_mean, running_var, training, eps, relu)
    return launch_forward(x, weight, gamma, beta, running_mean, running_var, None, training, eps, relu)


def backward_cpu(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    relu: bool,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the backward pass in PyTorch."""
    grad_y = grad.to(z.dtype)
    if relu:
        y = normalised_output(z, mean, scale, gamma, beta, training, eps)
        grad_y = torch.where(y <= 0, 0, grad_y)
    return plain_backward(grad_y, x, weight, gamma, z, mean, scale, training, eps, needs_x, needs_weight)


def backward_triton(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    relu: bool,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the backward pass, or leave a batch beyond the tile to PyTorch."""
    if len(x) > TILE_LIMIT:
        return backward_cpu(
            grad, x, weight, gamma, beta, z, mean, scale, training, eps, relu, needs_x, needs_weight
        )
    return launch_backward(
        grad, None, x, weight, gamma, beta, z, mean, scale, training, eps, relu, needs_x, needs_weight, False
    )[:3]


def layer_fakes(x: Tensor, weight: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, mean, 1/deviation and variance of the right shape and type."""
    dtype, outputs = accumulation_type(x.dtype), weight.shape[0]
    z = empty(x.shape[0], outputs, like=x, dtype=dtype)
    mean, scale, variance = (empty(outputs if training else 0, like=x, dtype=dtype) for _ in range(3))
    return z, mean, scale, variance


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
) -> Layer:
    return empty(x.shape[0], weight.shape[0], like=x), *layer_fakes(x, weight, training)


def backward_fake(
    x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x and of the weight, and 2×N, of the right shape and type."""
    dtype = accumulation_type(x.dtype)
    return (
        empty(*x.shape, like=x) if needs_x else x.new_empty(0),
        empty(*weight.shape, like=weight) if needs_weight else weight.new_empty(0),
        empty(2, weight.shape[0], like=x, dtype=dtype),
    )


def _backward_fake(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    relu: bool,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return backward_fake(x, weight, needs_x, needs_weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Layer) -> None:
    x, weight, gamma, beta, running_mean, running_var, ctx.training, ctx.eps, ctx.relu = inputs
    _, z, mean, scale, _ = output
    if not ctx.training:
        mean, scale = running_mean, running_var
    ctx.save_for_backward(x, weight, gamma, beta, z, mean, scale)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    x, weight, gamma, beta, z, mean, scale = ctx.saved_tensors
    wants_x, wants_weight, wants_gamma, wants_beta, *_ = ctx.needs_input_grad
    grad_x, grad_weight, sums = _backward_operator(
        grad, x, weight, gamma, beta, z, mean, scale, ctx.training, ctx.eps, ctx.relu, wants_x, wants_weight
    )
    return (
        grad_x if wants_x else None,
        grad_weight if wants_weight else None,
        sums[1].to(gamma.dtype) if wants_gamma else None,
        sums[0].to(beta.dtype) if wants_beta else None,
        *([None] * 5),
    )


_backward_operator = register(
    "linear_bn_act_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor z, Tensor mean, Tensor scale, "
    "bool training, float eps, bool relu, bool needs_x, bool needs_weight) -> (Tensor, Tensor, Tensor)",
    triton=backward_triton,
    cpu=backward_cpu,
    fake=_backward_fake,
)

_operator = register(
    "linear_bn_act",
    "(Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor? running_mean, Tensor? running_var, "
    "bool training, float eps, bool relu) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    triton=forward_triton,
    cpu=forward_cpu,
    fake=_forward_fake,
    save=_save,
    backward=_backward,
)


class LinearBN(NamedTuple):
    """A fully connected layer without bias and the batch normalisation after it (N outputs, K inputs)."""

    weight: Tensor
    """N×K."""
    gamma: Tensor | None = None
    """N, or None for 1."""
    beta: Tensor | None = None
    """N, or None for 0."""
    running_mean: Tensor | None = None
    """N; None keeps no running statistics."""
    running_var: Tensor | None = None
    """N."""
    momentum: float = 0.1
    """Weight of a batch in the running statistics."""
    eps: float = 1e-5
    """Added to the variance."""


class BatchStatistics(NamedTuple):
    """Of one layer in training; empty tensors in eval mode."""

    mean: Tensor
    """N."""
    variance: Tensor
    """N, unbiased."""


def check_layer(x: Tensor, layer: LinearBN, training: bool) -> None:
    """Refuse what the layer's operators cannot take.

    Raises:
        ValueError: A shape, layout or device that does not fit, a single row in training, or no running statistics in
            eval mode.
        TypeError: A dtype that is not supported.
    """
    check_tensor("x", x, dims=2)
    check_tensor("weight", layer.weight, dims=2)
    outputs, inputs = layer.weight.shape
    if inputs != x.shape[1] or layer.weight.device != x.device:
        raise ValueError(
            f"weight must be N×{x.shape[1]} on {x.device}, not {tuple(layer.weight.shape)} on {layer.weight.device}"
        )
    for name in ("gamma", "beta", "running_mean", "running_var"):
        check_vector(name, getattr(layer, name), (outputs,), x)
    if training and len(x) < 2:
        raise ValueError(f"x must hold more than 1 row in training, not {tuple(x.shape)}")
    if (layer.running_mean is None) != (layer.running_var is None) or (
        not training and layer.running_mean is None
    ):
        raise ValueError("running_mean and running_var belong together, and eval mode needs them")


def as_under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as ``F.linear`` would: under autocast to its type."""
    kind = tensors[0].device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def linear_bn(x: Tensor, layer: LinearBN, *, training: bool, relu: bool) -> tuple[Tensor, BatchStatistics]:
    """`linear_bn_act` that leaves the running statistics to the caller, who may update those of several layers at once.

    Args:
        x: B×K.
        layer: The layer.
        training: Normalise by the batch's statistics.
        relu: Whether ReLU follows.

    Returns:
        B×N, and the batch's statistics.

    Raises:
        ValueError, TypeError: As `check_layer`.
    """
    check_layer(x, layer, training)
    x, weight = as_under_autocast(x, layer.weight)
    out, _, mean, _, variance = _operator(
        x,
        weight,
        layer.gamma,
        layer.beta,
        layer.running_mean,
        layer.running_var,
        training,
        layer.eps,
        relu,
    )
    return out, BatchStatistics(mean, variance)


def update_layers(layers: list[LinearBN], statistics: list[BatchStatistics]) -> None:
    """Move the running statistics of layers of one momentum, all of them in one launch."""
    running, batch = [], []
    for layer, (mean, variance) in zip(layers, statistics, strict=True):
        if layer.running_mean is not None and layer.running_var is not None:
            running += [layer.running_mean, layer.running_var]
            batch += [mean, variance]
    if running:
        momenta = {layer.momentum for layer in layers}
        assert len(momenta) == 1
        update_running_statistics(running, batch, momenta.pop())


def linear_bn_act(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Literal["none", "relu"] = "relu",
) -> Tensor:
    """``f(batch_norm(x @ weight.T))`` in one launch for batches up to 256, in IEEE float32.

    Statistics are those of this process. Larger batches are computed by PyTorch's operators with the same result, in
    IEEE float32 as long as TF32 is not switched on for matrix products (it is off by default).

    Args:
        x: B×K; float32, bfloat16 or float16 (on the CPU float64, too).
        weight: N×K.
        gamma: N, or None for 1.
        beta: N, or None for 0.
        running_mean: N, updated in place in training as PyTorch does; None keeps none.
        running_var: N, the same with the unbiased variance.
        training: Normalise by the batch's statistics instead of the running ones.
        momentum: Weight of the batch in the running statistics.
        eps: Added to the variance.
        activation: f.

    Returns:
        B×N of x's dtype (under autocast of autocast's).

    Raises:
        ValueError: A shape, layout, device or activation that does not fit, a single row in training, or no running
            statistics in eval mode.
        TypeError: A dtype that is not supported.
    """
    check_activation(activation, ("none", "relu"))
    layer = LinearBN(weight, gamma, beta, running_mean, running_var, momentum, eps)
    out, statistics = linear_bn(x, layer, training=training, relu=activation == "relu")
    if training:
        update_layers([layer], [statistics])
    return out


def linear_bn_act_reference(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Literal["none", "relu"] = "relu",
) -> Tensor:
    """The same as `linear_bn_act` in PyTorch's own operators."""
    z = F.linear(x, weight)
    y = F.batch_norm(z, running_mean, running_var, gamma, beta, training, momentum, eps)
    return torch.relu(y) if activation == "relu" else y
