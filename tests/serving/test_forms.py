"""The retrieval module with other critics, on other devices, in other types, and as a copy."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from intact_fast import SRReID, UserError
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.export import export_graph, load_engine

CRITICS = ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"]


def make(name: str = "osnet_x0_25", **options: Any) -> SRReID:
    torch.manual_seed(0)
    critic, generator = build_osnet(name, 5), Generator(widths=(4, 4, 4, 4))
    with torch.no_grad():
        # statistics of real pictures, so that features differ
        critic.train()(torch.randn(8, 3, 64, 32))
        generator(torch.randn(8, 3, 64, 32))
    return SRReID(critic, generator, size=(64, 32), **({"lr_height": 40} | options))


def array(height: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, height // 2, 3), dtype=np.uint8)


PICTURES = [array(80, 0), array(20, 1)]


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("name", CRITICS)
def test_a_model_file_remembers_the_architecture(tmp_path: Path, name: str) -> None:
    model = make(name)
    model.save_pretrained(tmp_path / "model.safetensors")
    again = SRReID.from_pretrained(tmp_path / "model.safetensors", device="cpu:0")
    assert again.critic.name == name
    assert torch.equal(again(PICTURES), model(PICTURES))


def test_a_model_file_of_before_loads(tmp_path: Path) -> None:
    """Its configuration says nothing that a former one did not say."""
    make().save_pretrained(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        stored = json.loads(file.metadata()["intact_fast"])["critic"]
    assert stored == {"name": "osnet_x0_25", "num_classes": 5, "enlarge": 1}


@pytest.mark.parametrize("name", CRITICS[1:])
def test_instance_normalisation_is_not_folded(name: str) -> None:
    """Its statistics are each picture's own; the batch normalisations around it are folded."""
    model, fast = make(name), make(name, fold=True)
    norms = [module for module in fast.critic.modules() if isinstance(module, nn.InstanceNorm2d)]
    assert len(norms) == sum(isinstance(module, nn.InstanceNorm2d) for module in model.critic.modules()) > 2
    assert not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) for module in fast.critic.modules())
    close(fast(PICTURES, normalize=False), model(PICTURES, normalize=False), atol=1e-4)


def test_instance_normalisation_is_exported(tmp_path: Path) -> None:
    model = make("osnet_ain_x0_25")
    export_graph(model, "gallery", "torch-export", tmp_path / "graph.pt2")
    pictures = torch.rand(3, 3, 64, 32)
    found = load_engine(tmp_path / "graph.pt2", "torch-export")(pictures)
    close(found, model(pictures, mode="never"), atol=1e-4)


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_without_classifier_serves_and_is_saved(tmp_path: Path, name: str) -> None:
    critic = make(name).critic
    headless = {k: v.contiguous() for k, v in critic.state_dict().items() if not k.startswith("classifier")}
    save_file(headless, tmp_path / "osnet.safetensors")
    model = SRReID.from_torchreid(tmp_path / "osnet.safetensors", size=(64, 32))
    model.save_pretrained(tmp_path / "model.safetensors")
    again = SRReID.from_pretrained(tmp_path / "model.safetensors")
    assert (again.critic.name, again.critic.num_classes) == (name, 0)
    close(again(PICTURES), make(name, mode="never")(PICTURES))


def test_a_model_file_is_not_torchreids(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"our own model file \(for --model and SRReID\.from_pretrained\)"):
        SRReID.from_torchreid(tmp_path / "model.safetensors")
    torch.save(make().critic.state_dict(), tmp_path / "osnet.pth")
    with pytest.raises(UserError, match=r"no safetensors file but an OSNet checkpoint; .*SRReID\.from_torchreid"):
        SRReID.from_pretrained(tmp_path / "osnet.pth")
    torch.save(nn.Conv2d(3, 4, 1), tmp_path / "module.pth")
    with pytest.raises(UserError, match="no safetensors file but a pickle of a whole module"):
        SRReID.from_pretrained(tmp_path / "module.pth")


@pytest.mark.parametrize("convert", [SRReID.half, SRReID.bfloat16])
@pytest.mark.parametrize("name", CRITICS)
def test_half_types(tmp_path: Path, convert: Any, name: str) -> None:
    expected = make(name)(PICTURES)
    model = convert(make(name))
    features = model(PICTURES)
    assert features.dtype == torch.float32
    assert (features * expected).sum(dim=1).min() > 0.99
    close(model(torch.rand(2, 3, 20, 10)).norm(dim=1), torch.ones(2))
    assert model.super_resolve(PICTURES).dtype == torch.float32
    model.save_pretrained(tmp_path / "model.safetensors")
    assert (SRReID.from_pretrained(tmp_path / "model.safetensors")(PICTURES) * expected).sum(dim=1).min() > 0.99


def test_a_half_type_needs_no_autocast() -> None:
    model = make(precision="bf16").half()
    assert (model(PICTURES) * make()(PICTURES)).sum(dim=1).min() > 0.99
    close(make().double()(PICTURES), make()(PICTURES))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_precisions_give_close_features(precision: Any) -> None:
    close(make(precision=precision)(PICTURES), make()(PICTURES), atol=2e-2)


def test_unknown_colors_and_precisions_are_named() -> None:
    with pytest.raises(ValueError, match="color 'gbr': use one of rgb, bgr"):
        make(color="gbr")
    with pytest.raises(ValueError, match="precision 'int8': use one of auto, fp32, bf16, fp16"):
        make(precision="int8")


def test_arrays_and_tensors_of_opencv(tmp_path: Path) -> None:
    """Files and Pillow pictures know their order; only arrays and tensors are turned round."""
    model, of_bgr = make(), make(color="bgr")
    expected = model(PICTURES)
    assert not torch.allclose(of_bgr(PICTURES), expected)
    assert torch.equal(of_bgr([picture[:, :, ::-1] for picture in PICTURES]), expected)
    images = [Image.fromarray(picture) for picture in PICTURES]
    assert torch.equal(of_bgr(images), expected)
    images[0].save(tmp_path / "x.png")
    close(of_bgr(tmp_path / "x.png"), expected[:1])
    # opacity stays where it is, grey has no order
    opaque = np.dstack([PICTURES[0][:, :, ::-1], np.full((80, 40), 255, np.uint8)])
    close(of_bgr(opaque), expected[:1])
    assert torch.equal(of_bgr(PICTURES[0][:, :, 0]), model(PICTURES[0][:, :, 0]))
    tensor = torch.rand(2, 3, 80, 40)
    assert torch.equal(of_bgr(tensor.flip(1)), model(tensor))
    assert torch.equal(of_bgr(list(tensor.flip(1))), model(list(tensor)))
    assert torch.equal(of_bgr.prepare(PICTURES[0][:, :, ::-1]), model.prepare(PICTURES[0]))


@pytest.mark.parametrize("options", [{}, {"compile": True}, {"compile": True, "fold": True}])
def test_a_module_can_be_pickled_and_copied(tmp_path: Path, options: dict[str, Any]) -> None:
    model = make(**options)
    torch.save(model, tmp_path / "model.pt")
    others = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        copy.copy(model),
        torch.load(tmp_path / "model.pt", weights_only=False),
    ]
    expected = make(fold=options.get("fold", False))(PICTURES)
    for other in others:
        assert other.is_compiled == model.is_compiled
        other.is_compiled = False
        close(other(PICTURES), expected)
    # a deep copy has networks of its own, which are those that run
    copied = copy.deepcopy(make())
    nn.init.zeros_(copied.critic.get_parameter("fc.1.weight"))
    nn.init.zeros_(copied.critic.get_parameter("fc.1.bias"))
    assert copied(PICTURES).abs().sum() == 0


def test_a_compiled_copy_compiles_its_own_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    model = make(compile=True)
    model(PICTURES)
    model(PICTURES)
    assert len(compiled) == 2
    other = copy.deepcopy(model)
    other(PICTURES)
    assert compiled[2] is other.generator
    assert compiled[3].__self__ is other.critic


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", r"^device cuda:99: PyTorch sees no GPU; use cpu, or install a CUDA build of torch$"),
        ("mps", r"^device mps: trainings and models run on cpu or cuda; use auto, cpu, cuda or cuda:N$"),
        ("cpu:1", r"^device cpu:1: the processor is one device; use cpu$"),
    ],
)
def test_devices_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        SRReID.from_pretrained(tmp_path / "model.safetensors", device=device)
    with pytest.raises(UserError, match=message):
        SRReID.from_torchreid(tmp_path / "osnet.pth", device=device)


@pytest.mark.cuda
@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"precision": "fp16"}, {"fold": True}])
def test_on_a_gpu(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    model = make(name)
    model.save_pretrained(tmp_path / "model.safetensors")
    there = SRReID.from_pretrained(tmp_path / "model.safetensors", device="cuda:0", **options)
    assert there.device == torch.device("cuda", 0)
    assert (there(PICTURES).cpu() * model(PICTURES)).sum(dim=1).min() > 0.99
    assert (copy.deepcopy(there).half()(PICTURES).cpu() * model(PICTURES)).sum(dim=1).min() > 0.99
