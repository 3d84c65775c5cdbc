"""A probe of φ: it measures φ on people that it was not trained on, beside plain ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from intact_fast.training.step.networks import Networks

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class ProbedR2:
    """Shares of the variance of f_d (of f_c from D to R) that are explained on held-out identities."""

    phi: float
    """By φ in eval mode."""
    ridge: float
    """By ridge regression on training pictures: what a linear map from the same features reaches."""


class AssociationProbe:
    """Measures φ on held-out identities.

    f_c never changes and is computed once.

    Args:
        train: Gives batches of HR training pictures (N×3×H×W), the same every time.
        held_out: Gives batches of HR pictures of held-out identities.
    """

    def __init__(self, train: Callable[[], Iterator[Tensor]], held_out: Callable[[], Iterator[Tensor]]) -> None:
        self._sets = {"train": train, "held_out": held_out}
        self._f_c: dict[str, Tensor] = {}

    @torch.no_grad()
    def measure(self, networks: Networks) -> ProbedR2 | None:
        """Compare φ and ridge regression.

        Args:
            networks: C, D and the association.

        Returns:
            None without an association that predicts.
        """
        association = networks.association
        if association is None or not association.predicts:
            return None
        pairs = {}
        for name, batches in self._sets.items():
            f_d, f_c = [], []
            for x in batches():
                f_d.append(association.f_d(networks.target_discriminator(x)))
                if name not in self._f_c:
                    f_c.append(networks.critic.embed(x).float())
            if f_c:
                self._f_c[name] = torch.cat(f_c)
            pairs[name] = association.pair(self._f_c[name], torch.cat(f_d))
        source, target = pairs["held_out"]
        return ProbedR2(r_squared(association.predict(source), target), ridge_r2(*pairs["train"], source, target))


def r_squared(predicted: Tensor, target: Tensor) -> float:
    """1 − squared error over the variance about the mean, over all elements of N×D."""
    error = (predicted - target).square().mean()
    return float(1 - error / target.var(dim=0, unbiased=False).mean())


def ridge_r2(source: Tensor, target: Tensor, held_out_source: Tensor, held_out_target: Tensor) -> float:
    """R² of ridge regression on held-out rows.

    The penalty is the one that fits the last quarter of the training rows best, regressed on the others.

    Args:
        source: N×S, what to predict from.
        target: N×T.
        held_out_source: M×S.
        held_out_target: M×T.
    """
    source, target = source.double(), target.double()
    fit, check = slice(0, 3 * len(source) // 4), slice(3 * len(source) // 4, None)

    def score(penalty: float) -> float:
        predict = _ridge(source[fit], target[fit], penalty)
        return r_squared(predict(source[check]), target[check])

    predict = _ridge(source, target, max(_PENALTIES, key=score))
    return r_squared(predict(held_out_source.double()), held_out_target.double())


def _ridge(source: Tensor, target: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
    mean, std, level = source.mean(dim=0), source.std(dim=0).clamp_min(1e-6), target.mean(dim=0)
    x = (source - mean) / std
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (target - level) / len(x))
    return lambda rows: (rows - mean) / std @ weights + level
