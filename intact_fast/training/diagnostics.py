"""Diagnostics of a training: they show whether its loss terms pull together, and whether it has collapsed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

_LOST = 0.1
_DECIDED = 0.98
_PATIENCE = 3


def gradients_at(fake: Tensor, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Measure each loss term's gradient at G's output: its norm, and its cosine with the others (1 agrees, -1 opposes).

    Args:
        fake: N×3×H×W, what the terms were computed from; its graph stays.
        terms: Weighted terms, scalars. One whose gradient vanishes has cosine 0.

    Returns:
        ``gradient/fake_A`` and ``cosine/A_B``, device scalars.
    """
    gradients = {}
    for name, term in terms.items():
        # a term whose weight is 0 on the device, or that is constant in the pictures
        gradient = None
        if term.requires_grad:
            (gradient,) = torch.autograd.grad(term, fake, retain_graph=True, allow_unused=True)
        gradients[name] = torch.zeros_like(fake) if gradient is None else gradient
    norms = {name: gradient.norm() for name, gradient in gradients.items()}
    record = {f"gradient/fake_{name}": norm for name, norm in norms.items()}
    for (a, first), (b, second) in itertools.combinations(gradients.items(), 2):
        record[f"cosine/{a}_{b}"] = (first * second).sum() / (norms[a] * norms[b]).clamp_min(1e-20)
    return record


@torch.no_grad()
def variety(fake: Tensor, x_h: Tensor) -> Tensor:
    """Measure how much G's pictures differ from each other, relative to HR pictures; near 0, G gives one for all.

    Args:
        fake: N×3×H×W.
        x_h: N×3×H×W.
    """
    own, real = (x.detach().float().var(dim=0, unbiased=False).mean() for x in (fake, x_h))
    return (own / real.clamp_min(1e-12)).sqrt()


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
