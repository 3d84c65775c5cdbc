"""Cosines between loss terms, and how varied pictures are."""

from __future__ import annotations

import pytest
import torch

from intact_fast.training.step.measures import gradients_at, variety


def test_gradients_at_gives_norms_and_cosines() -> None:
    fake = torch.zeros(1, 1, 1, 2, requires_grad=True)
    x, y = fake.flatten()
    record = gradients_at(fake, {"a": 3 * x, "b": -2 * x, "c": x + y})
    assert record["gradient/fake_a"].item() == pytest.approx(3)
    assert record["gradient/fake_c"].item() == pytest.approx(2**0.5)
    assert record["cosine/a_b"].item() == pytest.approx(-1)
    assert record["cosine/a_c"].item() == pytest.approx(2**-0.5)
    assert fake.grad is None


def test_a_term_without_gradient_has_cosine_zero() -> None:
    fake = torch.ones(1, 3, 2, 2, requires_grad=True)
    other = torch.ones((), requires_grad=True)
    terms = {"a": fake.sum(), "off": 0.0 * fake.sum(), "constant": torch.ones(()), "elsewhere": 2 * other}
    record = gradients_at(fake, terms)
    for name in ("off", "constant", "elsewhere"):
        assert record[f"gradient/fake_{name}"].item() == 0
        assert record[f"cosine/a_{name}"].item() == 0


def test_variety_compares_the_spread_of_pictures() -> None:
    x_h = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert variety(0.5 * x_h + 3, x_h).item() == pytest.approx(0.5)
    assert variety(x_h[:1].expand(8, -1, -1, -1), x_h).item() == 0
