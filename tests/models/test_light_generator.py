"""The light G: what it returns untrained, its size, and branches that are served as one convolution."""

from __future__ import annotations

import pytest
import torch

from intact_fast.models import Generator, LightGenerator, generator_of
from intact_fast.models.light_generator import BranchedConv
from intact_fast.serving.folding import folded


def trained(generator: LightGenerator) -> LightGenerator:
    """Weights that are nowhere zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return generator


def test_an_untrained_one_returns_its_input() -> None:
    x_l = torch.randn(2, 3, 32, 16)
    assert torch.equal(LightGenerator(8, 2)(x_l), x_l)


def test_size_of_the_default() -> None:
    ends = 2 * (48 * 48 * 9 + 48)
    assert sum(p.numel() for p in LightGenerator().parameters()) == ends + 6 * 2 * (48 * 48 * 9 + 48) == 290_976


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_it_works_at_a_fraction_of_the_size(factor: int) -> None:
    generator = trained(LightGenerator(8, 1, factor))
    seen = []
    generator.body.register_forward_hook(lambda _module, _args, output: seen.append(output.shape))
    assert generator(torch.randn(2, 3, 32, 16)).shape == (2, 3, 32, 16)
    assert seen == [(2, 8, 32 // factor, 16 // factor)]
    assert generator.stride == factor


def test_every_parameter_learns() -> None:
    generator = trained(LightGenerator(8, 2, reparameterised=True))
    generator(torch.randn(2, 3, 16, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_branches_are_served_as_one_convolution() -> None:
    generator = trained(LightGenerator(8, 2, reparameterised=True)).eval()
    served = folded(generator)
    x_l = torch.randn(2, 3, 32, 16)
    torch.testing.assert_close(served(x_l), generator(x_l), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(part, BranchedConv) for part in served.modules())
    assert any(isinstance(part, BranchedConv) for part in generator.modules())


@pytest.mark.parametrize(
    "generator",
    [LightGenerator(8, 1, 2, True), Generator((4, 6), 1, "add", global_residual=True)],
    ids=["light", "paper"],
)
def test_settings_build_the_same_network(generator: LightGenerator | Generator) -> None:
    again = generator_of(generator.settings)
    assert type(again) is type(generator)
    again.load_state_dict(generator.state_dict())
    assert again.settings == generator.settings
