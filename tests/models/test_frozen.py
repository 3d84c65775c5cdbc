from __future__ import annotations

import torch
from torch import nn

from intact_fast.models import frozen_view


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def test_shares_storage_without_gradients_and_with_its_own_mode() -> None:
    module = make().train()
    view = frozen_view(module)
    assert not view.training
    assert module.training
    for ours, theirs in zip(module.parameters(), view.parameters(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()
        assert ours.requires_grad
        assert not theirs.requires_grad
    for ours, theirs in zip(module.buffers(), view.buffers(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()


def test_follows_optimiser_running_statistics_and_loading() -> None:
    module = make()
    view = frozen_view(module)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1, fused=True)
    x = torch.randn(8, 4)
    module(x).sum().backward()
    optimiser.step()
    assert torch.equal(view(x), module.eval()(x))
    module.load_state_dict(make().state_dict())
    assert torch.equal(view(x), make().eval()(x))


def test_passes_the_gradient_on_to_its_input_only() -> None:
    view = frozen_view(make())
    x = torch.randn(8, 4, requires_grad=True)
    view(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in view.parameters())
