"""What a campaign is given, and what it gives: promises, and how often each was put to the test."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trial:
    """What a campaign works with.

    Attributes:
        folder: Empty folder of its own.
        share: Share of the full counts, above 0 up to 1.
        seed: Of every choice that the campaign draws.
    """

    folder: Path
    share: float = 1.0
    seed: int = 0

    def count(self, full: int) -> int:
        """Scale a full count; at least 1."""
        return max(1, round(full * self.share))

    def draw(self) -> random.Random:
        """Give the campaign's own stream of random numbers, from its beginning."""
        return random.Random(self.seed)


@dataclass
class Promise:
    """A promise and its trials.

    Attributes:
        text: The promise, one sentence.
        trials: How often it was put to the test.
        broken: One line for each time that it did not hold.
        figures: What was measured beside it: seconds, bytes, counts.
    """

    text: str
    trials: int = 0
    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def test(self, holds: bool, otherwise: str) -> None:
        """Count a trial, and keep what was seen where the promise did not hold."""
        self.trials += 1
        if not holds:
            self.broken.append(otherwise)
