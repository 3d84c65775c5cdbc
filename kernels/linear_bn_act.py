"""A fully connected layer, batch normalisation and ReLU in one launch: a layer of φ or σ.

The same operator ends in a mean squared error for `association_losses`, under a name of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import CustomOpDef  # type: ignore[attr-defined]

from intact_fast.kernels.activations import check_activation
from intact_fast.kernels.linear_bn_kernels import TILE_LIMIT, launch_backward, launch_forward
from intact_fast.kernels.linear_bn_layer import (
    BatchStatistics,
    Gradients,
    Kept,
    LinearBN,
    Results,
    Wanted,
    as_under_autocast,
    check_layer,
    update_layers,
)
from intact_fast.kernels.linear_bn_plain import (
    backward_fake,
    forward_fake,
    kept_in_eval_mode,
    plain_backward,
    plain_forward,
)
from intact_fast.kernels.registration import register
from intact_fast.kernels.running_statistics import affine_gradients

LinearActivation = Literal["none", "relu"]


def forward_triton(x: Tensor, layer: LinearBN, target: Tensor | None, *, training: bool, relu: bool) -> Results:
    """Launch the forward pass, or leave a batch beyond the tile to PyTorch."""
    if len(x) > TILE_LIMIT:
        return plain_forward(x, layer, target, training=training, relu=relu)
    out, z, mean, scale, variance = launch_forward(x, layer, target, training=training, relu=relu)
    return out if target is None else out.sum(), z, mean, scale, variance


def backward_triton(
    grad: Tensor, x: Tensor, layer: LinearBN, kept: Kept, target: Tensor | None, **options: Any
) -> Gradients:
    """Launch the backward pass, or leave a batch beyond the tile to PyTorch; arguments as `plain_backward`'s."""
    run = plain_backward if len(x) > TILE_LIMIT else launch_backward
    return run(grad, x, layer, kept, target, **options)


def _flat_forward(implementation: Callable[..., Results]) -> Callable[..., Results]:
    """Give a forward pass the arguments of the schema, which knows tensors but no layers."""

    def flat(x: Tensor, weight: Tensor, *rest: Any) -> Results:
        gamma, beta, running_mean, running_var, target, training, eps, relu = rest
        layer = LinearBN(weight, gamma, beta, running_mean, running_var, eps=eps)
        return implementation(x, layer, target, training=training, relu=relu)

    return flat


def _flat_backward(implementation: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Give a backward pass the arguments of the schema."""

    def flat(
        grad: Tensor, x: Tensor, weight: Tensor, gamma: Tensor | None, beta: Tensor | None, *rest: Any
    ) -> Gradients:
        z, mean, scale, target, training, eps, relu, *wanted = rest
        layer = LinearBN(weight, gamma, beta, eps=eps)
        return implementation(
            grad, x, layer, Kept(z, mean, scale), target, training=training, relu=relu, wanted=Wanted(*wanted)
        )

    return flat


def _save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    x, weight, *vectors, target, ctx.training, ctx.eps, ctx.relu = inputs
    layer = LinearBN(weight, *vectors)
    _, z, mean, scale, _ = output
    kept = Kept(z, mean, scale) if ctx.training else kept_in_eval_mode(z, layer)
    ctx.save_for_backward(x, weight, layer.gamma, layer.beta, *kept, target)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _register(name: str) -> CustomOpDef:
    """Register the operator and its backward pass under a name, by which a profile tells the endings apart."""
    backward_operator = register(
        f"{name}_backward",
        "(Tensor grad, Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor z, Tensor mean, Tensor scale, "
        "Tensor? target, bool training, float eps, bool relu, bool needs_x, bool needs_weight, bool needs_target) "
        "-> (Tensor, Tensor, Tensor, Tensor)",
        triton=_flat_backward(backward_triton),
        cpu=_flat_backward(plain_backward),
        fake=_flat_backward(backward_fake),
    )

    def backward(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 10
        _, _, gamma, beta, *_ = saved = ctx.saved_tensors
        wants_x, wants_weight, wants_gamma, wants_beta, _, _, wants_target, *_ = ctx.needs_input_grad
        grad_x, grad_weight, sums, grad_target = backward_operator(
            grad, *saved, ctx.training, ctx.eps, ctx.relu, wants_x, wants_weight, wants_target
        )
        return (
            grad_x if wants_x else None,
            grad_weight if wants_weight else None,
            *affine_gradients(sums, gamma, beta, wants_gamma, wants_beta),
            None,
            None,
            grad_target if wants_target else None,
            None,
            None,
            None,
        )

    return register(
        name,
        "(Tensor x, Tensor weight, Tensor? gamma, Tensor? beta, Tensor? running_mean, Tensor? running_var, "
        "Tensor? target, bool training, float eps, bool relu) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        triton=_flat_forward(forward_triton),
        cpu=_flat_forward(plain_forward),
        fake=_flat_forward(forward_fake),
        save=_save,
        backward=backward,
    )


_act_operator, _mse_operator = _register("linear_bn_act"), _register("linear_bn_mse")


def run_layer(
    x: Tensor, layer: LinearBN, target: Tensor | None, *, training: bool, relu: bool
) -> tuple[Tensor, BatchStatistics]:
    """Run the operator on arguments that were checked; the running statistics are left to the caller.

    Args:
        x: B×K.
        layer: The layer.
        target: B×N, or None.
        training: Normalise by the batch's statistics.
        relu: Whether ReLU follows; never before a target.

    Returns:
        B×N, or the mean squared error against the target; and the batch's statistics.
    """
    assert target is None or not relu
    x, weight = as_under_autocast(x, layer.weight)
    vectors = (layer.gamma, layer.beta, layer.running_mean, layer.running_var)
    operator = _act_operator if target is None else _mse_operator
    out, _, mean, _, variance = operator(x, weight, *vectors, target, training, layer.eps, relu)
    return out, BatchStatistics(mean, variance)


def linear_bn(
    x: Tensor, layer: LinearBN, *, training: bool, activation: LinearActivation
) -> tuple[Tensor, BatchStatistics]:
    """`linear_bn_act` that leaves the running statistics to the caller, who may update several layers' at once.

    Args:
        x: B×K.
        layer: The layer.
        training: Normalise by the batch's statistics.
        activation: f.

    Returns:
        B×N, and the batch's statistics.

    Raises:
        ValueError, TypeError: As `linear_bn_act`.
    """
    check_activation(activation, ("none", "relu"))
    check_layer(x, layer, training)
    return run_layer(x, layer, None, training=training, relu=activation == "relu")


def linear_bn_act(x: Tensor, layer: LinearBN, *, training: bool, activation: LinearActivation) -> Tensor:
    """``f(batch_norm(x @ weight.T))`` in one launch for batches up to 256, in IEEE float32.

    Statistics are those of this process. PyTorch's operators compute larger batches with the same result. They do so
    in IEEE float32 as long as TF32 is not switched on for matrix products (it is off by default).

    Args:
        x: B×K; float32, bfloat16 or float16 (on the CPU float64, too).
        layer: The layer; its running statistics are updated in place in training, as PyTorch does.
        training: Normalise by the batch's statistics instead of the running ones.
        activation: f.

    Returns:
        B×N of x's dtype (under autocast of autocast's).

    Raises:
        ValueError: A shape, layout, device or activation that does not fit, a single row in training, or no running
            statistics in eval mode.
        TypeError: A dtype that is not supported.
    """
    out, statistics = linear_bn(x, layer, training=training, activation=activation)
    if training:
        update_layers([layer], [statistics])
    return out


def linear_bn_act_reference(x: Tensor, layer: LinearBN, *, training: bool, activation: LinearActivation) -> Tensor:
    """The same as `linear_bn_act` in PyTorch's own operators."""
    weight, gamma, beta, running_mean, running_var, momentum, eps = layer
    z = F.linear(x, weight)
    y = F.batch_norm(z, running_mean, running_var, gamma, beta, training, momentum, eps)
    return torch.relu(y) if activation == "relu" else y
