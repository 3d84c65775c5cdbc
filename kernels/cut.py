"""The cut of a picture batch into the programs of a launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import triton
from torch import Tensor

from intact_fast.kernels.launch import launch, power_of_two
from intact_fast.kernels.pictures import positions_of

_COMBINED = 8
"""Channels of which one program combines the chunks' results, all chunks in one tile."""


@dataclass(frozen=True)
class Cut:
    """The cut of a picture batch, the matrix M×C, into programs.

    Attributes:
        positions: M.
        channels: C.
        tile: Rows and channels of a tile.
        rows: Rows of a chunk, of which a program looks through all.
        chunks: How many there are. Every chunk more is one more for the programs that combine them.
    """

    positions: int
    channels: int
    tile: dict[str, int]
    rows: int
    chunks: int

    @classmethod
    def of(cls, x: Tensor, elements: int, programs: int) -> Cut:
        """Cut N×C×H×W pictures.

        Args:
            x: The pictures.
            elements: Of a tile, at most.
            programs: At most, in a pass that looks through all rows.
        """
        positions, channels = positions_of(x), x.shape[1]
        block = power_of_two(channels, 8, 128)
        tile = {"BC": block, "BM": min(elements // block, 128)}
        wanted = max(programs // triton.cdiv(channels, block), 1)
        rows = triton.cdiv(triton.cdiv(positions, tile["BM"]), wanted) * tile["BM"]
        return cls(positions, channels, tile, rows, triton.cdiv(positions, rows))

    @classmethod
    def of_tiles(cls, x: Tensor, elements: int) -> Cut:
        """Cut pictures into chunks of one tile each, for a pass whose programs have nothing to sum up."""
        whole = cls.of(x, elements, 1)
        rows = whole.tile["BM"]
        return replace(whole, rows=rows, chunks=triton.cdiv(whole.positions, rows))

    @property
    def sizes(self) -> dict[str, int]:
        """The matrix's sizes as the kernels take them."""
        return {"M": self.positions, "C": self.channels}

    def over_tiles(self) -> tuple[int, int]:
        """The grid of a pass with one tile per program."""
        return triton.cdiv(self.positions, self.tile["BM"]), triton.cdiv(self.channels, self.tile["BC"])

    def over_chunks(self) -> tuple[int, int]:
        """The grid of a pass with one chunk per program."""
        return self.chunks, triton.cdiv(self.channels, self.tile["BC"])

    def combine(self, kernel: Any, arguments: dict[str, Any], *more: int) -> None:
        """Launch a kernel that combines the chunks; ``more`` are further dimensions of its grid."""
        assert self.chunks <= 1024
        launch(
            kernel,
            (triton.cdiv(self.channels, _COMBINED), *more),
            {**arguments, "chunks": self.chunks},
            warps=8 if self.chunks > 128 else 4,
            BP=power_of_two(self.chunks, 16, 1024),
            BC=_COMBINED,
        )
