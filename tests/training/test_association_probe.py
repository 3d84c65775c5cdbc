"""R² on held-out rows against what is known of linear data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from intact_fast.config.options import Config
from intact_fast.training.association_probe import AssociationProbe, r_squared, ridge_r2
from training_cases import batch_of, networks_of, small


def linear_rows(noise: float, count: int = 400) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(2 * count, 6, generator=generator)
    weights = torch.randn(6, 4, generator=generator)
    signal = source @ weights
    target = signal + noise * signal.std() * torch.randn(2 * count, 4, generator=generator) + 5
    return source[:count], target[:count], source[count:], target[count:]


def test_r_squared() -> None:
    target = torch.tensor([[0.0, 2.0], [2.0, 0.0], [4.0, 4.0]])
    assert r_squared(target, target) == 1
    assert r_squared(target.mean(dim=0).expand(3, 2), target) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 1.0), (1.0, 0.5)])
def test_ridge_finds_the_linear_share(noise: float, expected: float) -> None:
    assert ridge_r2(*linear_rows(noise)) == pytest.approx(expected, abs=0.04)


def test_ridge_explains_nothing_of_noise() -> None:
    source, target, held_out, other = linear_rows(0.0)
    unrelated = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    assert ridge_r2(source, unrelated, held_out, other - other.mean(dim=0)) < 0.1


@pytest.mark.parametrize("direction", ["r-to-d", "d-to-r", "common-space"])
def test_the_association_is_measured_as_it_runs(tiny_config: Config, direction: str) -> None:
    config = small(tiny_config, direction=direction)
    networks = networks_of(config)

    def batches() -> Iterator[Tensor]:
        return iter([batch_of(i, size=16).x_h for i in range(2)])

    found = AssociationProbe(batches, batches).measure(networks)
    if direction == "common-space":
        assert found is None
        return
    assert found is not None
    x = torch.cat(list(batches()))
    association = networks.association
    assert association is not None
    f_c, f_d = networks.critic.embed(x), association.f_d(networks.discriminator(x)).detach()
    source, target = (f_d, f_c) if direction == "d-to-r" else (f_c, f_d)
    with torch.no_grad():
        predicted = association.predict(source)
    # batches of another size go through the same networks by other sums
    assert found.phi == pytest.approx(r_squared(predicted, target), rel=1e-2)


def test_without_association_there_is_nothing_to_measure(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(replace(config, loss=replace(config.loss, lambda_dis=0.0)))
    assert AssociationProbe(lambda: iter([]), lambda: iter([])).measure(networks) is None
