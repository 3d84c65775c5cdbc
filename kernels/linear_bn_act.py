"""A fully connected layer, batch normalisation and ReLU in one launch: a layer of φ or σ."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.kernels.activations import check_activation
from intact_fast.kernels.choice import check_tensor, check_vector
from intact_fast.kernels.launch import empty
from intact_fast.kernels.linear_bn_kernels import TILE_LIMIT, launch_backward, launch_forward
from intact_fast.kernels.linear_bn_plain import (
    Layer,
    backward_fake,
    layer_fakes,
    normalised_output,
    plain_backward,
    plain_forward,
)
from intact_fast.kernels.registration import register
from intact_fast.kernels.running_statistics import update_running_statistics


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
    vectors = (gamma, beta, running_mean, running_var)
    if len(x) > TILE_LIMIT:
        return forward_cpu(x, weight, *vectors, training, eps, relu)
    return launch_forward(x, weight, *vectors, None, training, eps, relu)


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


def backward_triton(grad: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the backward pass, or leave a batch beyond the tile to PyTorch; arguments as `backward_cpu` takes them."""
    if len(x) > TILE_LIMIT:
        return backward_cpu(grad, x, *arguments)
    return launch_backward(grad, None, x, *arguments, needs_target=False)[:3]


def _forward_fake(x: Tensor, weight: Tensor, *options: Any) -> Layer:
    *_, training, _, _ = options
    return empty(x.shape[0], weight.shape[0], like=x), *layer_fakes(x, weight, training)


def _backward_fake(grad: Tensor, x: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, needs_x, needs_weight = options
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
    if (layer.running_mean is None) != (layer.running_var is None) or (not training and layer.running_mean is None):
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
