from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.models.osnet import OSNET_VARIANTS
from intact_fast.models.osnet_weights import read_osnet
from models.osnet_reference import features, names_and_shapes, random_state

State = dict[str, Tensor]
NAME = "osnet_x0_25"


def state_of(name: str = NAME, classes: int = 3) -> State:
    widths, family = OSNET_VARIANTS[name]
    return random_state(names_and_shapes(family, widths, classes))


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def without(start: str, state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("wrap", "classes"),
    [
        (lambda s: s, 3),
        (lambda s: without("classifier", s), 0),
        (lambda s: {"state_dict": s, "epoch": 60, "rank1": 0.9, "optimizer": {"state": {}, "param_groups": []}}, 3),
        (lambda s: {"model": s}, 3),
        (lambda s: {"model": prefixed("backbone.", s)}, 3),
        (lambda s: {"net": {"weights": prefixed("module.module.", s)}}, 3),
        (lambda s: prefixed("_orig_mod.module.", s), 3),
        (lambda s: {"state_dict": prefixed("model.", s), "hyper_parameters": argparse.Namespace(lr=0.1)}, 3),
        # the usual place counts
        (lambda s: {"state_dict": s, "ema": s}, 3),
        # a classifier beside its backbone
        (lambda s: prefixed("backbone.", without("classifier", s)) | {"classifier.weight": s["classifier.weight"]}, 3),
        (lambda s: {**s, "total_ops": torch.zeros(1), "conv1.conv.total_params": torch.zeros(1)}, 3),
        (lambda s: {"n_averaged": torch.tensor(3), **prefixed("module.", s)}, 3),
        (lambda s: {name: nn.Parameter(value.float()) for name, value in s.items()}, 3),
        (lambda s: {name: value.numpy() for name, value in s.items()}, 3),
        (lambda s: {name: value for name, value in s.items() if "num_batches" not in name}, 3),
        (lambda s: {"state_dict": s, "cmc": np.arange(3.0), "args": argparse.Namespace(root=Path("/data"))}, 3),
    ],
)
def test_an_osnet_is_found_however_it_is_kept(
    tmp_path: Path, wrap: Callable[[State], Any], classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    state = state_of()
    torch.save(wrap(state), tmp_path / "osnet.pth")
    osnet = read_osnet(tmp_path / "osnet.pth", "checkpoint").eval()
    assert (osnet.name, osnet.num_classes) == (NAME, classes)
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(osnet(x), features("plain", state, x), rtol=1e-3, atol=1e-4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", OSNET_VARIANTS)
def test_the_variant_is_read_off_the_names(tmp_path: Path, name: str) -> None:
    save_file(without("classifier", state_of(name)), tmp_path / "osnet.safetensors")
    assert read_osnet(tmp_path / "osnet.safetensors", "checkpoint").name == name
    torch.save({"state_dict": prefixed("module.", state_of(name, 5))}, tmp_path / "osnet.pth")
    osnet = read_osnet(tmp_path / "osnet.pth", "checkpoint")
    assert (osnet.name, osnet.num_classes) == (name, 5)


def test_half_precision_is_read(tmp_path: Path) -> None:
    torch.save({name: value.half() for name, value in state_of().items()}, tmp_path / "osnet.pth")
    assert read_osnet(tmp_path / "osnet.pth", "checkpoint").conv1.conv.weight.dtype == torch.float32


def test_tensors_beside_the_backbone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a neck behind the backbone, whose output is not f_c."""
    state = prefixed("backbone.", state_of()) | {
        "bottleneck.weight": torch.ones(512),
        "bottleneck.bias": torch.ones(512),
    }
    torch.save(state, tmp_path / "osnet.pth")
    read_osnet(tmp_path / "osnet.pth", "checkpoint")
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 tensors beside backbone are left out, for one bottleneck.weight" in line


def resnet(blocks: tuple[int, ...], bottleneck: bool, ibn: bool = False) -> State:
    names = [
        f"layer{stage}.{block}.{part}"
        for stage, count in enumerate(blocks, 1)
        for block in range(count)
        for part in ("conv1.weight", "conv2.weight", *(["conv3.weight"] if bottleneck else []))
    ]
    return {name: torch.zeros(1) for name in [*names, *(["layer1.0.bn1.IN.weight"] if ibn else [])]}


R50 = resnet((3, 4, 6, 3), bottleneck=True)
OPTIMISER = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
WITHOUT_FC = without("fc.", without("classifier", state_of()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (R50, "not an OSNet checkpoint but a ResNet-50 checkpoint"),
        ({"state_dict": prefixed("module.", R50)}, "but a ResNet-50 checkpoint"),
        ({"model": prefixed("base.", resnet((3, 4, 6, 3), True, ibn=True))}, "but a ResNet-50-IBN checkpoint"),
        (resnet((2, 2, 2, 2), bottleneck=False), "but a ResNet-18 checkpoint"),
        (resnet((3, 4, 23, 3), bottleneck=True), "but a ResNet-101 checkpoint"),
        (
            {"model": prefixed("backbone.", R50) | {"heads.bottleneck.0.weight": torch.zeros(1)}},
            r"but a fast-reid checkpoint \(ResNet-50\)",
        ),
        ({"base.blocks.0.attn.qkv.weight": torch.zeros(1)}, r"but a vision transformer \(ViT\) checkpoint"),
        ({"image_encoder.x": torch.zeros(1), "text_encoder.y": torch.zeros(1)}, "but a CLIP checkpoint"),
        (OPTIMISER.state_dict(), "but an optimiser's state"),
        (
            torch.optim.lr_scheduler.StepLR(OPTIMISER, 3).state_dict(),
            "but the state of a schedule of learning rates",
        ),
        (torch.amp.GradScaler("cpu").state_dict(), "but the state of a gradient scaler"),
        ({"state": {"networks": {}}, "config": "", "iteration": 3}, "but our own training checkpoint; .*critic.pt"),
        ({"state": {"critic": {}}, "config": "", "iteration": 3}, "but our own checkpoint of a C in training"),
        ({"epoch": 3, "rank1": 0.9}, r"but no weights \(its entries: epoch, rank1\)"),
        ({}, "but an empty dictionary"),
        ({"a.weight": torch.zeros(2, 3)}, r"but another network \(1 tensors, for one a\.weight of shape \(2, 3\)\)"),
        (prefixed("backbone.", WITHOUT_FC), r"an OSNet without its fully connected layer .*, as fast-reid's"),
        (state_of() | {"fc.0.weight": torch.zeros(256, 128)}, r"an OSNet of 256 features \(fc\.0\.weight\)"),
        (
            state_of() | {"conv1.conv.weight": torch.zeros(24, 3, 7, 7)},
            r"an OSNet whose conv1 has the shape \(24, 3, 7, 7\); the published ones have 16, 32, 48, 64 channels",
        ),
        (
            state_of() | {"conv5.conv.weight": torch.zeros(64, 128, 1, 1)},
            r"conv5\.conv\.weight has the shape \(64, 128",
        ),
        (
            state_of() | {"bottleneck.weight": torch.zeros(1)},
            "1 parameters do not fit OSNet, for one bottleneck.weight",
        ),
        ({"student": state_of(), "teacher": state_of()}, r"holds 2 OSNets \(student, teacher\); save the one you mean"),
        ({"state_dict": prefixed("a.", state_of()) | prefixed("b.", state_of())}, r"holds 2 OSNets \(state_dict\.a, s"),
    ],
)
def test_what_is_no_osnet_is_told_what_it_is(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "osnet.pth")
    with pytest.raises(UserError, match=rf"^--critic\.init .*osnet\.pth: .*{words}") as caught:
        read_osnet(tmp_path / "osnet.pth", "--critic.init")
    assert "\n" not in str(caught.value)


def test_our_g_is_told_what_it_is(tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(1), "encoder.0.0.conv1.weight": torch.zeros(1)}, tmp_path / "g.pth")
    with pytest.raises(UserError, match=r"but a super-resolution network \(our G\) checkpoint"):
        read_osnet(tmp_path / "g.pth", "checkpoint")


def test_what_is_written_here_loads_by_torchreids_rule(tmp_path: Path) -> None:
    """torchreid looks under state_dict and compares names and shapes."""
    for name in ("osnet_ibn_x1_0", "osnet_ain_x0_25"):
        widths, family = OSNET_VARIANTS[name]
        state = build_osnet(name, 4).state_dict()
        assert {key: tuple(value.shape) for key, value in state.items()} == names_and_shapes(family, widths, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight * float("nan"), "has values that are no numbers, as of a training that diverged"),
        (lambda weight: weight.to(torch.int8), "is of type int8, strided; save the weights as dense floating-point"),
        (lambda weight: weight.to(torch.complex64), "is of type complex64, strided; save"),
        (lambda weight: weight.to_sparse(), "is of type float32, sparse_coo; save"),
        (lambda weight: torch.empty_like(weight, device="meta"), "is without values; save"),
    ],
)
def test_values_that_no_weight_has(tmp_path: Path, change: Callable[[Tensor], Tensor], words: str) -> None:
    name = "conv1.conv.weight"
    state = state_of()
    torch.save({**state, name: change(state[name])}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=f"^--critic {tmp_path}/c.pth: {name} {words}"):
        read_osnet(tmp_path / "c.pth", "--critic")


def test_a_part_of_several_files_is_told_so(tmp_path: Path) -> None:
    save_file(dict(list(state_of().items())[:50]), tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(UserError, match="not an OSNet checkpoint but a part of an OSNet's checkpoint"):
        read_osnet(tmp_path / "model-00001-of-00002.safetensors", "--critic")


def test_the_name_does_not_say_the_format(tmp_path: Path) -> None:
    torch.save(state_of(), tmp_path / "c.safetensors")
    assert read_osnet(tmp_path / "c.safetensors", "--critic").num_classes == 3
