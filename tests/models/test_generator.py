from __future__ import annotations

import pytest
import torch
from torch import nn

from intact_fast.models import Generator
from intact_fast.models.generator import PixelShuffleUp, ResidualBlock


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_default_has_sixteen_blocks_in_eight_groups() -> None:
    generator = Generator()
    assert len(generator.encoder) == len(generator.decoder) == 4
    assert sum(isinstance(m, ResidualBlock) for m in generator.modules()) == 16
    assert sum(isinstance(m, PixelShuffleUp) for m in generator.modules()) == 4
    assert generator.stride == 16


def test_default_parameter_count_follows_from_the_layer_table() -> None:
    def block(a: int, b: int) -> int:
        shortcut = a * b + 2 * b if a != b else 0
        return 9 * a * b + 2 * b + 9 * b * b + 2 * b + shortcut

    down = [(64, 64), (64, 128), (128, 256), (256, 512)]
    up = [(512, 512), (512, 256), (256, 128), (128, 64)]
    blocks = sum(block(a, b) + block(b, b) for a, b in down + up)
    shuffles = sum(9 * w * 4 * w + 4 * w for w in (512, 256, 128, 64))
    ends = (9 * 3 * 64 + 64) + (9 * 64 * 3 + 3)
    assert parameters(Generator()) == blocks + shuffles + ends == 37_196_611


def test_resolution_drops_sixteen_times_and_comes_back() -> None:
    generator = Generator(widths=(4, 6, 8, 10))
    seen: list[tuple[int, ...]] = []
    generator.decoder[0].register_forward_hook(lambda m, args, out: seen.append(tuple(args[0].shape)))
    assert generator(torch.randn(2, 3, 64, 32)).shape == (2, 3, 64, 32)
    assert seen == [(2, 10, 4, 2)]


@pytest.mark.parametrize("skip", ["none", "add"])
def test_global_residual_starts_as_identity(skip: str) -> None:
    x_l = torch.randn(2, 3, 32, 16)
    generator = Generator(widths=(4, 4, 4, 4), skip=skip, global_residual=True)
    assert torch.equal(generator(x_l), x_l)


def test_skip_add_uses_the_encoder_output_and_adds_no_parameters() -> None:
    plain = Generator(widths=(4, 6, 8, 10)).eval()
    added = Generator(widths=(4, 6, 8, 10), skip="add").eval()
    added.load_state_dict(plain.state_dict())
    x_l = torch.randn(1, 3, 32, 16)
    assert not torch.allclose(plain(x_l), added(x_l))


def test_every_parameter_gets_a_gradient() -> None:
    generator = Generator(widths=(4, 6, 8, 10), skip="add")
    generator(torch.randn(2, 3, 32, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
