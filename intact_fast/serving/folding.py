"""Networks as they are served: normalisations are part of the layer before, branches are one convolution."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from intact_fast.models.light_generator import BranchedConv

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
