"""A network is built only where the file holds its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intact_fast.models import Generator, LightGenerator, build_osnet, generator_of
from intact_fast.models.loading import weights_of, with_weights


@pytest.mark.parametrize(
    "network",
    [build_osnet("osnet_x0_25", 5), Generator((4, 6), skip="add"), LightGenerator(8, 2, reparameterised=True)],
)
def test_a_network_comes_back(network: nn.Module) -> None:
    def build() -> nn.Module:
        return build_osnet("osnet_x0_25", 5) if hasattr(network, "embed") else generator_of(network.settings)

    state = network.state_dict()
    found = with_weights(build, weights_of("g", {f"g.{name}": value for name, value in state.items()}))
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": [10**6] * 4}, r"stem\.weight has the shape \(4, 3, 3, 3\), and should have \(1000000, 3, 3, 3\)"),
        ({"widths": [2**62] * 4}, "no network has such settings"),
        ({"widths": [0]}, "generator: 1 widths and 2 blocks cannot be"),
        ({"widths": [4], "blocks_per_group": 10**9}, "generator: 1 widths and 1000000000 blocks cannot be"),
        ({"widths": "abc"}, "generator.widths is 'abc', not a list"),
        ({"arch": "light", "blocks": 10**9}, "blocks 256 at most"),
        ({"arch": "other"}, "generator.arch is 'other', not one of paper"),
        ({"colour": "red"}, "generator.colour: no such key"),
    ],
)
def test_sizes_that_the_file_does_not_hold_take_no_memory(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_weights(lambda: generator_of(settings), Generator((4,)).state_dict())


def test_weights_without_values_are_refused() -> None:
    state = {**Generator((4,)).state_dict(), "stem.bias": torch.zeros(4, device="meta")}
    with pytest.raises(ValueError, match=r"stem\.bias is of type"):
        with_weights(lambda: Generator((4,)), state)


def test_what_is_none_of_the_weights_is_named() -> None:
    with pytest.raises(ValueError, match="more is none of its weights"):
        with_weights(lambda: Generator((4,)), {**Generator((4,)).state_dict(), "more": torch.zeros(1)})
