from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from intact_fast.data.degradation import normalise, pixels, resize
from intact_fast.models import select_kernels
from intact_fast.models.frozen import frozen_view
from intact_fast.models.osnet import OSNET_VARIANTS, arch_of, build_osnet
from models.osnet_reference import features, names_and_shapes, random_state


@pytest.mark.parametrize(
    ("name", "backbone_parameters"),
    [
        # torchreid's published model sizes without the classifier: 2.2, 1.3, 0.6 and 0.2 M
        ("osnet_x1_0", 2_169_508),
        ("osnet_x0_75", 1_285_754),
        ("osnet_x0_5", 630_034),
        ("osnet_x0_25", 201_864),
        # IBN adds a scale and a shift of 256 channels in two blocks; AIN puts as many in the place of others
        ("osnet_ibn_x1_0", 2_169_508 + 1024),
        ("osnet_ain_x1_0", 2_169_508),
        ("osnet_ain_x0_25", 201_864),
    ],
)
def test_parameter_counts(name: str, backbone_parameters: int) -> None:
    osnet = build_osnet(name, num_classes=10)
    assert sum(p.numel() for p in osnet.parameters()) == backbone_parameters + 10 * 513
    assert arch_of(osnet.state_dict()) == name


def test_parameter_names_are_torchreids() -> None:
    names = build_osnet("osnet_x0_25", 7).state_dict().keys()
    for name in (
        "conv1.conv.weight",
        "conv2.0.conv2a.conv1.weight",
        "conv2.0.conv2d.3.bn.running_var",
        "conv2.0.gate.fc1.bias",
        "conv2.0.downsample.bn.weight",
        "conv3.2.0.conv.weight",
        "conv4.1.conv3.bn.num_batches_tracked",
        "conv5.bn.bias",
        "fc.0.weight",
        "fc.1.running_mean",
        "classifier.weight",
    ):
        assert name in names
    assert not any(name.startswith("conv4.2") for name in names)
    assert len(names) == 567


def test_train_mode_gives_logits_and_eval_mode_features() -> None:
    osnet = build_osnet("osnet_x0_25", 7)
    x = torch.randn(2, 3, 64, 32)
    assert osnet.train()(x).shape == (2, 7)
    features = osnet.eval()(x)
    assert features.shape == (2, 512)
    assert (features >= 0).all()
    assert osnet.classify(features).shape == (2, 7)


def test_arch_of_a_stranger_is_none() -> None:
    assert arch_of({}) is None
    assert arch_of({"conv1.conv.weight": torch.zeros(5, 3, 7, 7)}) is None
    assert arch_of({"conv1.conv.weight": torch.zeros(())}) is None


@pytest.mark.parametrize("name", OSNET_VARIANTS)
def test_names_and_shapes_are_torchreids(name: str) -> None:
    """A file of either project loads in the other, and the names alone say which network it is."""
    widths, family = OSNET_VARIANTS[name]
    expected = names_and_shapes(family, widths, 3)
    osnet = build_osnet(name, num_classes=3)
    assert [(key, tuple(value.shape)) for key, value in osnet.state_dict().items()] == list(expected.items())
    assert arch_of(random_state(expected)) == name
    assert osnet.name == name


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0", "osnet_ain_x0_25"])
def test_features_are_the_references(name: str) -> None:
    """The reference has instance normalisation where the papers and torchreid have it."""
    widths, family = OSNET_VARIANTS[name]
    state = random_state(names_and_shapes(family, widths, 3))
    osnet = build_osnet(name, 3).eval()
    osnet.load_state_dict(state)
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        expected = features(family, state, x)
        assert expected.std() > 0.1
        torch.testing.assert_close(osnet(x), expected, rtol=1e-3, atol=1e-4)
        # laid out otherwise, it computes the same
        channels_last = osnet.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(channels_last, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
def test_fused_operators_give_the_same_features(name: str) -> None:
    """And the gradient that G gets through them; behind instance normalisation pictures are laid out otherwise."""
    torch.manual_seed(0)
    osnet = build_osnet(name, 3).to(memory_format=torch.channels_last).requires_grad_(False).eval()
    x = torch.randn(2, 3, 64, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for kernels in ("torch", "triton"):
        select_kernels(osnet, kernels)  # type: ignore[arg-type]
        features = osnet(x)
        found.append((features, *torch.autograd.grad(features.square().sum(), x)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("name", ["osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_a_frozen_view_follows_instance_normalisation(name: str) -> None:
    osnet = build_osnet(name, 3).train()
    view = frozen_view(osnet)
    x = torch.randn(4, 3, 64, 32)
    optimiser = torch.optim.SGD(osnet.parameters(), lr=0.1)
    osnet(x).square().sum().backward()
    assert osnet.get_parameter("conv1.bn.weight").grad is not None
    optimiser.step()
    assert not any(parameter.requires_grad for parameter in view.parameters())
    torch.testing.assert_close(view(x), osnet.eval()(x))


def test_a_network_without_classes_gives_features() -> None:
    osnet = build_osnet("osnet_x0_25", 0).eval()
    assert osnet.num_classes == 0
    assert not any(name.startswith("classifier") for name in osnet.state_dict())
    assert osnet(torch.randn(2, 3, 64, 32)).shape == (2, 512)


def test_enlarging_is_pillows_bilinear_resize() -> None:
    """A small G before a C of full size sees HR pictures as C alone does."""
    torch.manual_seed(0)
    small = build_osnet("osnet_x0_25", 3, enlarge=2).eval()
    full = build_osnet("osnet_x0_25", 3).eval()
    full.load_state_dict(small.state_dict())
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
    x = normalise(pixels(image))[None]
    with torch.no_grad():
        torch.testing.assert_close(
            small(x), full(normalise(pixels(resize(image, (64, 32), "bilinear")))[None]), rtol=0, atol=2e-2
        )
        assert torch.equal(small(x), full(F.interpolate(x, (64, 32), mode="bilinear")))


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_it_compiles_into_one_graph(name: str) -> None:
    """As the objectives call it: to f_c, and on to the identities, with a gradient to the pictures."""
    osnet = build_osnet(name, 3).eval()
    compiled = torch.compile(lambda x: osnet.classify(osnet.embed(x)), fullgraph=True, backend="eager")
    x = torch.randn(2, 3, 64, 32, requires_grad=True)
    expected = osnet.classify(osnet.embed(x))
    torch.testing.assert_close(compiled(x), expected)
    (gradient,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x)[0])
