from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from intact_fast.config.options import AssociationConfig
from intact_fast.models import AssociationNetwork, Discriminator, Generator, select_kernels
from intact_fast.models.fused import depthwise_norm_relu, norm_relu
from intact_fast.models.osnet import LightConv3x3
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


def light_convolution(trained: bool = True) -> LightConv3x3:
    torch.manual_seed(0)
    layer = LightConv3x3(6, 8).to(memory_format=torch.channels_last).requires_grad_(trained)
    nn.init.normal_(layer.bn.weight)
    nn.init.normal_(layer.bn.bias)
    layer.bn.running_mean = torch.randn(8)
    layer.bn.running_var = torch.rand(8) + 0.5
    return layer.eval()


@pytest.mark.parametrize("trained", [False, True])
def test_a_light_convolution_gives_the_same_in_both_forms(trained: bool) -> None:
    """C frozen and C_q trained: the output, and gradients of pictures and parameters."""
    plain, x = light_convolution(trained), pictures(6).requires_grad_()
    found = []
    for kernels in ("torch", "triton"):
        layer = copy.deepcopy(plain)
        select_kernels(layer, kernels)
        with torch.profiler.profile() as profile:
            out = layer(x)
            wanted = [x, *(p for p in layer.parameters() if p.requires_grad)]
            found.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
        used = {event.key for event in profile.key_averages()}
        assert ("intact_fast::depthwise_norm_act_backward" in used) == (kernels == "triton")
    assert len(found[0]) == (6 if trained else 2)
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_light_convolution_keeps_no_input() -> None:
    layer = light_convolution(trained=False)
    kept: list[torch.Tensor] = []
    z = pictures(8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        out = depthwise_norm_relu(layer.conv2, layer.bn, z, "triton")
    assert [tensor.data_ptr() for tensor in kept if tensor.shape == z.shape] == [out.data_ptr()]


def test_where_a_light_convolution_has_no_fused_form_it_stays_plain() -> None:
    layer = light_convolution()
    z = torch.randn(2, 8, 6, 4)
    other = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    # by the batch's statistics, behind a bias, folded away, and laid out as instance normalisation leaves pictures
    for conv, norm, x in (
        (layer.conv2, copy.deepcopy(layer.bn).train(), z.contiguous(memory_format=torch.channels_last)),
        (other, layer.bn, z.contiguous(memory_format=torch.channels_last)),
        (layer.conv2, nn.Identity(), z.contiguous(memory_format=torch.channels_last)),
        (layer.conv2, layer.bn, z),
    ):
        expected = torch.relu(copy.deepcopy(norm)(conv(x)))
        assert torch.equal(depthwise_norm_relu(conv, norm, x, "triton"), expected)
