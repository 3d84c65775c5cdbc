from __future__ import annotations

import itertools

import torch

from intact_fast.models import Discriminator


def test_default_parameter_count_and_feature_shapes() -> None:
    discriminator = Discriminator()
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512]
    convs = sum(9 * a * b for a, b in itertools.pairwise(widths))
    norms = 64 + sum(2 * b for b in widths[2:])
    head = (512 * 1024 + 1024) + (1024 + 1)
    assert sum(p.numel() for p in discriminator.parameters()) == convs + norms + head
    output = discriminator(torch.randn(2, 3, 64, 32))
    assert output.logits.shape == (2,)
    assert {name: output.feature(name).shape[1] for name in ("head", "pool", "conv5")} == discriminator.feature_dims
    assert discriminator.feature_dims == {"head": 1024, "pool": 512, "conv5": 256}


def test_pooled_features_are_position_averages() -> None:
    discriminator = Discriminator(widths=(4, 4, 6, 8), hidden=5)
    maps: dict[int, torch.Tensor] = {}
    for i in (4, 7):
        discriminator.convs[i].register_forward_hook(lambda m, a, out, i=i: maps.__setitem__(i, out))
    output = discriminator(torch.randn(3, 3, 32, 16))
    assert torch.allclose(output.conv5, maps[4].mean(dim=(2, 3)))
    assert torch.allclose(output.pool, maps[7].mean(dim=(2, 3)))


def test_flatten_head_fits_odd_sizes() -> None:
    discriminator = Discriminator(widths=(4, 4, 6, 8), hidden=5, head="flatten", input_size=(50, 26))
    assert discriminator(torch.randn(2, 3, 50, 26)).logits.shape == (2,)


def test_keeps_no_running_statistics_and_is_the_same_in_eval_mode() -> None:
    discriminator = Discriminator(widths=(4, 4, 6, 8), hidden=5)
    assert not list(discriminator.buffers())
    x = torch.randn(4, 3, 32, 16)
    assert torch.equal(discriminator.train()(x).logits, discriminator.eval()(x).logits)
