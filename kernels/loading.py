"""A load that several kernels share."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_vector(pointer, i, size, default):
    """Values ``pointer[i]`` in float32 where i < size; ``default`` where there is no pointer."""
    if pointer is None:
        values = tl.full(i.shape, default, tl.float32)
    else:
        values = tl.load(pointer + i, mask=i < size, other=0.0).to(tl.float32)
    return values
