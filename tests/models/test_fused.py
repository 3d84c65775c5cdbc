from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from intact_fast.config.options import AssociationConfig
from intact_fast.models import AssociationNetwork, Discriminator, Generator, select_kernels
from intact_fast.models.fused import norm_relu
from intact_fast.training.step.association import build_association


def pictures(channels: int = 3) -> torch.Tensor:
    return torch.randn(4, channels, 32, 16).contiguous(memory_format=torch.channels_last)


def networks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    torch.manual_seed(0)
    return {
        "G": (Generator((8, 12), 1, "add"), (pictures(),)),
        "D": (Discriminator((4, 6, 8, 10), 12), (pictures(),)),
        "φ and σ": (
            build_association(AssociationConfig(hidden=(8, 7), latent=5), 1.0, 6, {"head": 10, "pool": 1, "conv5": 1}),
            (torch.randn(9, 6), torch.randn(9, 10)),
        ),
    }


@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("training", [True, False])
def test_both_forms_give_the_same(name: str, training: bool) -> None:
    plain, inputs = networks()[name]
    plain = plain.to(memory_format=torch.channels_last).train(training)
    fused = copy.deepcopy(plain)
    select_kernels(plain, "torch")
    select_kernels(fused, "triton")
    for ours, expected in zip(fused(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[key], value, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", networks())
def test_the_fused_form_compiles_into_one_graph(name: str) -> None:
    module, inputs = networks()[name]
    module = module.to(memory_format=torch.channels_last)
    select_kernels(module, "triton")
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True, backend="aot_eager")
    for ours, expected in zip(compiled(*inputs), module(*inputs), strict=True):
        torch.testing.assert_close(ours, expected)


def test_other_normalisations_stay_as_they_are() -> None:
    x = pictures(6)
    for norm in (nn.BatchNorm2d(6, momentum=None), nn.GroupNorm(2, 6), nn.Identity()):
        expected = torch.relu(copy.deepcopy(norm)(x))
        torch.testing.assert_close(norm_relu(norm, x, "triton"), expected)
    phi = AssociationNetwork(6, 10, (8, 7), 5)
    select_kernels(phi, "triton")
    assert phi.encoder.fuses(torch.randn(4, 6))
    assert not nn.SyncBatchNorm.convert_sync_batchnorm(phi).encoder.fuses(torch.randn(4, 6))
