"""Loads and masks that several kernels share."""

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


@triton.jit
def tile_offsets(c, C, BM: tl.constexpr):
    """32-bit offsets [BM, BC] within a tile of a matrix M×C; that of the tile itself has 64 bits."""
    return tl.arange(0, BM)[:, None] * C + c[None, :]


@triton.jit
def tile_mask(start, end, c, C, BM: tl.constexpr):
    """A tile's mask [BM, BC]: true in the rows [start, end) and in the C channels."""
    left = tl.minimum(end - start, BM).to(tl.int32)
    return (tl.arange(0, BM)[:, None] < left) & (c[None, :] < C)
