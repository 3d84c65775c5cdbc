"""Measures of a detailed iteration: how the terms of G's loss pull, and how varied G's pictures are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn


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


def gradient_norm(module: nn.Module) -> torch.Tensor:
    """L2 norm over all gradients of a module, a device scalar."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
