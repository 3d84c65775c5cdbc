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


def test_a_condition_begins_without_a_say_and_learns() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(widths=(4, 4, 6, 8), hidden=5, condition_dim=7)
    x, condition = torch.randn(3, 3, 32, 16), torch.randn(3, 7)
    output = discriminator(x, condition)
    assert torch.equal(output.logits, discriminator(x).logits)
    output.logits.square().sum().backward()
    assert discriminator.projection is not None
    gradient = discriminator.projection.weight.grad
    assert gradient is not None
    unit = torch.nn.functional.normalize(condition, dim=1)
    expected = torch.einsum("n,nh,nc->hc", 2 * output.logits, output.head, unit)
    torch.testing.assert_close(gradient, expected)


def test_a_condition_has_no_length_and_changes_no_feature() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(widths=(4, 4, 6, 8), hidden=5, condition_dim=7)
    assert discriminator.projection is not None
    torch.nn.init.normal_(discriminator.projection.weight)
    x, condition = torch.randn(3, 3, 32, 16), torch.randn(3, 7)
    with torch.no_grad():
        plain, conditional, longer = discriminator(x), discriminator(x, condition), discriminator(x, 50 * condition)
    torch.testing.assert_close(conditional.logits, longer.logits)
    assert not torch.allclose(plain.logits, conditional.logits)
    for name in ("head", "pool", "conv5"):
        assert torch.equal(plain.feature(name), conditional.feature(name))
