"""Networks as they are served: normalisations are part of the layer before, branches are one convolution."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from intact_fast.models.fused import select_kernels
from intact_fast.models.light_generator import BranchedConv
from intact_fast.models.osnet import OSNet

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def folded(module: ModuleT) -> ModuleT:
    """Copy a network in eval mode with normalisations folded into the layer before, and branches into one convolution.

    It computes the same up to rounding, with fewer passes over memory. Layers count as following each other when they
    are declared so, as all of this project's are.

    Args:
        module: G or C; stays as it is.
    """
    result = copy.deepcopy(module).eval()
    for part in list(result.modules()):
        for name, layer in list(part.named_children()):
            if isinstance(layer, BranchedConv):
                setattr(part, name, layer.merged())
        for (name, layer), (norm_name, norm) in itertools.pairwise(list(part.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(layer, norm))
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                setattr(part, name, fuse_linear_bn_eval(layer, norm))
            else:
                continue
            setattr(part, norm_name, nn.Identity())
    return result


def plain(network: ModuleT) -> ModuleT:
    """Copy a network folded, in float32 on the CPU and of plain operators, as other engines are given it.

    Args:
        network: G, C, or both in a row, on any device and of any type, folded or not; stays as it is.
    """
    result = folded(network).float().cpu().requires_grad_(False)
    # embedding needs no classifier, and a graph would carry it
    for part in list(result.modules()):
        if isinstance(part, OSNet):
            part.register_module("classifier", nn.Identity())
    select_kernels(result, "torch")
    # torch's types do not know this form
    return result.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
