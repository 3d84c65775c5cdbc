"""The forms of G, and how one is built from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from intact_fast.models.generator import Generator
from intact_fast.models.light_generator import LightGenerator
from intact_fast.plain_values import read_plain, shown


class NoGenerator(nn.Module):
    """In G's place where queries are not super-resolved: pictures return as they are."""

    stride = 1

    def forward(self, x_l: Tensor) -> Tensor:
        """Give x_l (N×3×H×W) itself."""
        return x_l


AnyGenerator = Generator | LightGenerator
"""What super-resolves."""


@dataclass(frozen=True)
class _PaperSettings:
    """Of `Generator`; files of former versions do not name this form."""

    arch: Literal["paper"] = "paper"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks_per_group: int = 2
    skip: Literal["none", "add"] = "none"
    global_residual: bool = False


@dataclass(frozen=True)
class _LightSettings:
    """Of `LightGenerator`."""

    arch: Literal["light"]
    width: int = 48
    blocks: int = 6
    factor: int = 4
    reparameterised: bool = False


_MOST_GROUPS, _MOST_BLOCKS = 16, 256
"""Beyond what anybody trains: modules take time and memory even without weights."""


def generator_of(settings: Mapping[str, Any]) -> AnyGenerator:
    """Build an untrained G from the settings that a trained one has.

    Raises:
        ValueError: They are none.
    """
    if settings.get("arch", "paper") == "light":
        light = read_plain(_LightSettings, settings, "generator")
        if not (light.width > 0 and 0 < light.blocks <= _MOST_BLOCKS and light.factor > 0):
            raise ValueError(
                f"generator: width, blocks and factor should be 1 or more, and blocks {_MOST_BLOCKS} at most"
            )
        return LightGenerator(light.width, light.blocks, light.factor, light.reparameterised)
    paper = read_plain(_PaperSettings, settings, "generator")
    counts = 0 < len(paper.widths) <= _MOST_GROUPS and 0 < paper.blocks_per_group <= _MOST_BLOCKS
    if not (counts and min(paper.widths) > 0):
        raise ValueError(f"generator: {len(paper.widths)} widths and {shown(paper.blocks_per_group)} blocks cannot be")
    return Generator(paper.widths, paper.blocks_per_group, paper.skip, paper.global_residual)
