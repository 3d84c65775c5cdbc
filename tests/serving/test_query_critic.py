"""C_q in C's place for LR pictures, and files of G alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image

from intact_fast.cli import main
from intact_fast.errors import UserError
from intact_fast.models import LightGenerator, build_osnet
from intact_fast.serving import pretrained
from intact_fast.serving.export import export_graph, load_engine
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.super_resolver import SuperResolver

SIZE = (32, 16)
HIGH, LOW = (Image.effect_noise(size, 90).convert("RGB") for size in ((16, 32), (8, 16)))


def make(with_generator: bool = True, **options: object) -> SRReID:
    """C, a C_q that differs from it, and a light G that changes its pictures."""
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 3)
    query_critic = copy.deepcopy(critic)
    generator = LightGenerator(8, 1, reparameterised=True)
    with torch.no_grad():
        for network in (query_critic.conv5, generator):
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    served = generator if with_generator else None
    return SRReID(critic, served, SIZE, query_critic=query_critic, lr_height=24, normalize=False, **options)


@pytest.mark.parametrize("with_generator", [True, False])
def test_lr_pictures_go_through_c_q_and_hr_ones_through_c(with_generator: bool) -> None:
    model = make(with_generator)
    assert model.query_critic is not None
    prepared = torch.stack([model.prepare(picture) for picture in (HIGH, LOW)])
    with torch.no_grad():
        high = model.critic.embed(prepared[:1])
        low = prepared[1:] if model.generator is None else model.generator(prepared[1:])
        low = model.query_critic.embed(low)
    found = model([HIGH, LOW, LOW, HIGH])
    torch.testing.assert_close(found, torch.cat([high, low, low, high]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(LOW), low, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(LOW, mode="never"), model.embed(prepared[1:]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(low, model(LOW, mode="never"))


def test_folded_and_compiled_forms_serve_the_same() -> None:
    expected = make()([HIGH, LOW])
    torch.testing.assert_close(make(fold=True)([HIGH, LOW]), expected, rtol=1e-3, atol=1e-4)


def test_one_file_holds_both_critics(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path / "model.safetensors")
    again = SRReID.from_pretrained(tmp_path / "model.safetensors")
    assert torch.equal(again([HIGH, LOW]), model([HIGH, LOW]))
    assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("with_generator", [True, False])
def test_the_exported_query_side_holds_c_q(tmp_path: Path, with_generator: bool) -> None:
    model = make(with_generator)
    export_graph(model, "query", "torch-export", tmp_path / "query.pt2")
    pictures = torch.rand(3, 3, *SIZE)
    expected = model(pictures, mode="always")
    torch.testing.assert_close(
        load_engine(tmp_path / "query.pt2", "torch-export")(pictures), expected, rtol=1e-3, atol=1e-4
    )


def of_generator_alone(folder: Path) -> tuple[SRReID, Path]:
    torch.manual_seed(1)
    model = SRReID(build_osnet("osnet_x0_25", 3, enlarge=2), make().generator, SIZE, lr_height=20)
    model.save_generator(folder / "light.safetensors")
    return model, folder / "light.safetensors"


def test_a_file_of_g_alone_serves_any_critic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, file = of_generator_alone(tmp_path)
    torch.save(model.critic.state_dict(), tmp_path / "osnet.pth")
    expected = model([HIGH, LOW])
    assert torch.equal(SRReID.from_torchreid(tmp_path / "osnet.pth", file)([HIGH, LOW]), expected)
    monkeypatch.setattr(pretrained, "_SHIPPED", tmp_path)
    assert torch.equal(SRReID.from_torchreid(tmp_path / "osnet.pth", "light")([HIGH, LOW]), expected)
    assert torch.equal(SuperResolver.from_pretrained("light").super_resolve(LOW), model.super_resolve(LOW))
    with pytest.raises(UserError, match="holds a generator alone; give a critic, too"):
        SRReID.from_pretrained("light")
    with pytest.raises(UserError, match=r"^heavy: no such file; the package has light$"):
        SRReID.from_torchreid(tmp_path / "osnet.pth", "heavy")


@pytest.mark.parametrize("alone", [True, False])
def test_a_g_says_when_it_serves_another_critic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], alone: bool
) -> None:
    model, file = of_generator_alone(tmp_path)
    if not alone:
        model.save_pretrained(file)
    other = build_osnet("osnet_x0_25", 7, enlarge=2)
    # another classifier, and counts of batches, do not make another C
    other.load_state_dict(
        {**other.state_dict(), **{k: v for k, v in model.critic.state_dict().items() if "fier" not in k}}
    )
    other.conv1.bn.num_batches_tracked += 1
    torch.save(other.state_dict(), tmp_path / "osnet.pth")
    SRReID.from_torchreid(tmp_path / "osnet.pth", file)
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        other.conv1.conv.weight[0] += 1
    torch.save(other.state_dict(), tmp_path / "osnet.pth")
    SRReID.from_torchreid(tmp_path / "osnet.pth", file)
    assert "its G was trained for another C than" in capsys.readouterr().err


def test_commands_take_a_shipped_g_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = of_generator_alone(tmp_path)
    torch.save(model.critic.state_dict(), tmp_path / "osnet.pth")
    monkeypatch.setattr(pretrained, "_SHIPPED", tmp_path)
    crops = tmp_path / "crops"
    crops.mkdir()
    for name, picture in {"a.png": HIGH, "b.png": LOW}.items():
        picture.save(crops / name)
    assert main(["enhance", str(crops), str(tmp_path / "enhanced"), "--model", "light"]) == 0
    assert {path.name for path in (tmp_path / "enhanced").iterdir()} == {"a.png", "b.png"}
    command = ["search", "--query", str(crops / "b.png"), "--gallery", str(crops), "--model", "light"]
    assert main(command) == 2
    assert "--critic" in capsys.readouterr().err
    index = ["--critic", str(tmp_path / "osnet.pth"), "--index", str(tmp_path / "index.lance")]
    assert main([*command, *index]) == 0
    assert "b.png" in capsys.readouterr().out


def test_a_model_is_exported_as_g_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = of_generator_alone(tmp_path)
    model.save_pretrained(tmp_path / "model.safetensors")
    command = ["export", "--model", str(tmp_path / "model.safetensors"), "--generator-only", "--out"]
    assert main([*command, str(tmp_path / "g.safetensors")]) == 0
    assert torch.equal(
        SuperResolver.from_pretrained(tmp_path / "g.safetensors").super_resolve(LOW), model.super_resolve(LOW)
    )
    assert main([*command, str(tmp_path / "g.pt2")]) == 2
    make().save_pretrained(tmp_path / "both.safetensors")
    command[2] = str(tmp_path / "both.safetensors")
    assert main([*command, str(tmp_path / "other.safetensors")]) == 2
    assert "--generator-only" in capsys.readouterr().err
