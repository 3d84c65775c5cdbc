"""Launchers of batch normalisation's Triton kernels: the operator's implementation on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intact_fast.kernels.batch_norm_kernels import (
    apply_kernel,
    backward_apply_kernel,
    backward_sums_kernel,
    combine_statistics_kernel,
    combine_sums_kernel,
    statistics_kernel,
)
from intact_fast.kernels.cut import Cut
from intact_fast.kernels.launch import empty, launch
from intact_fast.kernels.pictures import picture_like
from intact_fast.kernels.running_statistics import empty_statistics

_TILE, _WARPS = 4096, 8
_PROGRAMS = 256
"""At most, in a pass that looks through all rows: about two for each multiprocessor of an H100."""


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
    cut = Cut.of(x, _TILE, _PROGRAMS)
    out = picture_like(x)
    mean, scale, variance = empty_statistics(x, cut.channels, training)
    if training:
        mean_partial, m2_partial = (empty(cut.chunks, cut.channels, like=x, dtype=torch.float32) for _ in range(2))
        partials = {"mean_partial_ptr": mean_partial, "m2_partial_ptr": m2_partial}
        sizes = {**cut.sizes, "rows": cut.rows}
        launch(statistics_kernel, cut.over_chunks(), {"x_ptr": x, **partials, **sizes}, warps=_WARPS, **cut.tile)
        found = {"mean_ptr": mean, "scale_ptr": scale, "variance_ptr": variance}
        cut.combine(combine_statistics_kernel, {**partials, **found, **sizes, "eps": eps})
    launch(
        apply_kernel,
        cut.over_tiles(),
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
            **cut.sizes,
        },
        ACTIVATION=activation,
        FROM_VARIANCE=not training,
        warps=_WARPS,
        **cut.tile,
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

    ``scale`` is 1/deviation in training, the running variance in eval mode. ``saved`` is the output where x alone does
    not tell the sign.

    Returns:
        Gradients of x and of the residual tensor, and 2×C float32 of bias and weight. The last two are empty where
        they are not asked for.
    """
    cut = Cut.of(x, _TILE, _PROGRAMS)
    grad = grad.contiguous(memory_format=torch.channels_last)
    grad_x = picture_like(x)
    grad_y = picture_like(x) if needs_residual else None
    vectors = {"mean_ptr": mean, "scale_ptr": scale, "weight_ptr": weight, "bias_ptr": bias}
    scalars = {"slope": slope, "eps": eps, **cut.sizes}
    constants: dict[str, Any] = {
        "ACTIVATION": activation,
        "FROM_VARIANCE": not training,
        "warps": _WARPS,
        **cut.tile,
    }
    sums = None
    if training or needs_sums:
        partial = empty(2, cut.chunks, cut.channels, like=x, dtype=torch.float32)
        launch(
            backward_sums_kernel,
            cut.over_chunks(),
            {
                "grad_ptr": grad,
                "x_ptr": x,
                "saved_ptr": saved,
                **vectors,
                "grad_y_ptr": grad_y,
                "partial_ptr": partial,
                **scalars,
                "rows": cut.rows,
                "chunks": cut.chunks,
            },
            **constants,
        )
        sums = empty(2, cut.channels, like=x, dtype=torch.float32)
        cut.combine(combine_sums_kernel, {"partial_ptr": partial, "sums_ptr": sums, "C": cut.channels}, 2)
    kept = grad_y if sums is not None else None
    if kept is not None:
        # the second pass reads what the first one wrote instead of two tensors
        grad, saved, constants = kept, None, {**constants, "ACTIVATION": "none"}
    launch(
        backward_apply_kernel,
        cut.over_tiles(),
        {
            "grad_ptr": grad,
            "x_ptr": x,
            "saved_ptr": saved,
            **vectors,
            "sums_ptr": sums if training else None,
            "grad_x_ptr": grad_x,
            "grad_y_ptr": None if kept is not None else grad_y,
            **scalars,
        },
        **constants,
    )
    return (
        grad_x,
        x.new_empty(0) if grad_y is None else grad_y,
        x.new_empty(2, 0, dtype=torch.float32) if sums is None else sums,
    )
