"""The choice between the fused operators and the plain PyTorch expression."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from intact_fast.kernels.checks import FLOATS

Kernels = Literal["auto", "measured", "triton", "torch"]

Operator = Literal["pixel_shuffle_act", "batch_norm_act", "depthwise_norm_act", "association"]
"""The choices; ``association`` are the layers of φ and σ together with their losses."""

FASTER: dict[Kernels, frozenset[Operator]] = {
    "auto": frozenset({"pixel_shuffle_act", "association"}),
    "measured": frozenset({"pixel_shuffle_act", "batch_norm_act", "association"}),
}
"""The operators that ``auto`` and ``measured`` take on a GPU.

A picture operator is here where a record shows it at least as fast on every shape of the paper: as Inductor's code for
``auto``, as PyTorch's own operators for ``measured``. ``association`` is here if its whole step is as fast
(``benchmarks/records``, operators).

The records measure the device's time. Where Python launches each operator, it costs more than it saves. So the
training asks for them only in iterations that are replayed as CUDA graphs.
"""


def uses_operator(kernels: Kernels, operator: Operator, *tensors: Tensor | None) -> bool:
    """Tell whether the fused operator takes these tensors.

    ``triton`` always takes it; on the CPU that runs the operator's CPU implementation. ``torch`` never does.
    ``auto`` and ``measured`` take it where that was measured faster: listed in `FASTER`, on a GPU, of a type and layout
    that the kernels know.
    """
    if kernels in FASTER:
        return operator in FASTER[kernels] and all(_fits(tensor) for tensor in tensors if tensor is not None)
    return kernels == "triton"


def _fits(x: Tensor) -> bool:
    laid_out = x.ndim != 4 or x.is_contiguous(memory_format=torch.channels_last)
    return x.is_cuda and x.dtype in FLOATS and laid_out
