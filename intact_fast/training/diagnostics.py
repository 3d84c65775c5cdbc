"""The alarm for a training that has collapsed, by the figures that it records."""

from __future__ import annotations

import math
from collections.abc import Mapping

_LOST = 0.1
_DECIDED = 0.98
_PATIENCE = 3


class CollapseAlarm:
    """Says, once each, when the figures of a training show that a part of it no longer works."""

    def __init__(self) -> None:
        self._decided = 0
        self._said: set[str] = set()

    def look(self, figures: Mapping[str, float]) -> list[str]:
        """Take in one record's figures and give what is new to say about them.

        Args:
            figures: By the names that the training step records them under.
        """
        found = []
        bad = [name for name, value in figures.items() if name.startswith("loss/") and not math.isfinite(value)]
        if bad:
            found.append(f"{bad[0]} is not a number: lower the learning rates, or use --training.precision fp32")
        if figures.get("generator/variety", 1.0) < _LOST:
            found.append("G gives nearly the same picture for every input (generator/variety below 0.1)")
        if figures.get("association/std_f_e", 1.0) < _LOST:
            found.append("f_e has shrunk (association/std_f_e below 0.1): L_e is met by a constant")
        self._decided = self._decided + 1 if figures.get("discriminator/accuracy", 0.0) > _DECIDED else 0
        if self._decided >= _PATIENCE:
            found.append(
                "D tells nearly all pictures apart (discriminator/accuracy above 0.98 in three records): its gradient "
                "says little; lower --optimiser.discriminator-learning-rate"
            )
        new = [text for text in found if text not in self._said]
        self._said.update(new)
        return new
