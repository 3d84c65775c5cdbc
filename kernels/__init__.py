"""Fused operators in Triton, each with a CPU form and a plain PyTorch reference."""

from intact_fast.kernels.association_losses import (
    AssociationLosses,
    association_losses,
    distillation_loss,
    linear_bn_mse,
    linear_bn_mse_reference,
)
from intact_fast.kernels.batch_norm_act import batch_norm_act, batch_norm_act_reference
from intact_fast.kernels.choice import FASTER, Kernels, uses_operator
from intact_fast.kernels.depthwise_norm_act import depthwise_norm_act, depthwise_norm_act_reference
from intact_fast.kernels.linear_bn_act import linear_bn, linear_bn_act, linear_bn_act_reference
from intact_fast.kernels.linear_bn_layer import BatchStatistics, LinearBN, update_layers
from intact_fast.kernels.pixel_shuffle_act import pixel_shuffle_act, pixel_shuffle_act_reference

__all__ = [
    "FASTER",
    "AssociationLosses",
    "BatchStatistics",
    "Kernels",
    "LinearBN",
    "association_losses",
    "batch_norm_act",
    "batch_norm_act_reference",
    "depthwise_norm_act",
    "depthwise_norm_act_reference",
    "distillation_loss",
    "linear_bn",
    "linear_bn_act",
    "linear_bn_act_reference",
    "linear_bn_mse",
    "linear_bn_mse_reference",
    "pixel_shuffle_act",
    "pixel_shuffle_act_reference",
    "update_layers",
    "uses_operator",
]
