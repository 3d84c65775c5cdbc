"""The forms of G, and how one is built from its settings."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from intact_fast.models.generator import Generator
from intact_fast.models.light_generator import LightGenerator


class NoGenerator(nn.Module):
    """In G's place where queries are not super-resolved: pictures return as they are."""

    stride = 1

    def forward(self, x_l: Tensor) -> Tensor:
        """Give x_l (N×3×H×W) itself."""
        return x_l


AnyGenerator = Generator | LightGenerator
"""What super-resolves."""


def generator_of(settings: dict[str, Any]) -> AnyGenerator:
    """Build an untrained G from the settings that a trained one has."""
    settings = dict(settings)
    # files of former versions hold the paper's form alone, and do not name it
    if settings.pop("arch", "paper") == "light":
        return LightGenerator(**settings)
    return Generator(**settings)
