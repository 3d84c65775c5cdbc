"""The retrieval module: what it takes, what it gives, and that files bring it back."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from intact_fast import SRReID, UserError
from intact_fast.data.degradation import read_image
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.inputs import prepare_tensor


def picture(width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def make(with_generator: bool = True, **options: Any) -> SRReID:
    torch.manual_seed(0)
    generator = Generator(widths=(4, 4, 4, 4)) if with_generator else None
    critic = build_osnet("osnet_x0_25", 5)
    with torch.no_grad():
        # statistics of real pictures, so that features differ
        critic.train()(torch.randn(8, 3, 48, 32))
        if generator is not None:
            generator(torch.randn(8, 3, 48, 32))
    return SRReID(critic, generator, size=(48, 32), **({"lr_height": 40} | options))


HIGH, LOW = picture(30, 70, 0), picture(8, 16, 1)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_pictures_of_any_size_give_features() -> None:
    model = make()
    features = model([HIGH, LOW, picture(100, 48, 2)])
    assert features.shape == (3, model.feature_dim) == (3, 512)
    assert features.dtype == torch.float32
    close(features.norm(dim=1), torch.ones(3))
    raw = model([HIGH, LOW, picture(100, 48, 2)], normalize=False)
    close(nn.functional.normalize(raw), features)
    assert model([]).shape == (0, 512)
    assert make(normalize=False)([HIGH]).norm() != pytest.approx(1)


def test_natively_small_pictures_pass_through_g() -> None:
    model = make()
    always, never, auto = (model([HIGH, LOW], mode=mode) for mode in ("always", "never", "auto"))
    assert not torch.allclose(always, never, atol=1e-3)
    close(auto, torch.stack([never[0], always[1]]))
    close(model([LOW, HIGH]), auto.flip(0))
    assert torch.equal(make(mode="never")([HIGH, LOW]), never)
    assert torch.equal(make(lr_height=17)([HIGH, LOW]), auto)
    close(make(lr_height=16)([HIGH, LOW]), never)
    bare = make(with_generator=False)
    bare.critic.load_state_dict(model.critic.state_dict())
    assert torch.equal(bare([HIGH, LOW], mode="always"), never)
    with pytest.raises(ValueError, match="no generator"):
        bare.super_resolve([LOW])


def test_batches_and_threads_change_nothing() -> None:
    images = [picture(20 + 3 * i, 20 + 9 * i, i) for i in range(7)]
    expected = make()(images)
    for batch_size, threads in ((1, 1), (3, 4), (7, 2)):
        close(make(batch_size=batch_size, threads=threads)(images), expected)


@pytest.mark.parametrize("image", [HIGH, LOW])
def test_every_kind_of_input_gives_the_same(tmp_path: Path, image: Image.Image) -> None:
    model = make()
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    expected = model([image])
    same = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        image,
        [str(tmp_path / "a.png")],
        array,
        array[None],
        [array.astype(np.float32) / 255],
        [array.astype(np.uint16) * 257],
        [np.dstack([array, np.full(array.shape[:2], 7, np.uint8)])],
    ]
    for pictures in same:
        assert torch.equal(model(pictures), expected)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    on_device = model(tensor)
    # PyTorch's resize rounds some pixels to the next level
    torch.testing.assert_close(on_device, expected, rtol=0, atol=5e-3)
    for pictures in ([tensor], tensor[None], tensor[None].contiguous(memory_format=torch.channels_last)):
        close(model(pictures), on_device)
    floating = model(tensor / 255.0)
    torch.testing.assert_close(floating, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(61, 31), (300, 140), (20, 9), (1, 1), (2, 300)])
def test_tensors_are_resized_as_pillow_does(interpolation: Any, size: tuple[int, int]) -> None:
    model = make(interpolation=interpolation)
    array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    by_pillow = model.prepare(array)
    by_torch = model.prepare(torch.from_numpy(array).permute(2, 0, 1))
    levels = (by_torch - by_pillow).abs() * 0.225 * 255
    assert levels.mean() < 0.5
    assert levels.max() < 3.1


def test_tensors_as_torchreid_normalises_them() -> None:
    model = make(tensors="imagenet", mode="never")
    prepared = torch.stack([model.prepare(picture(32, 48, i)) for i in range(3)])
    close(model(prepared), make(mode="never")([picture(32, 48, i) for i in range(3)]))
    close(model(prepared, normalize=False), model.critic(prepared))


def test_grey_and_batches_of_arrays() -> None:
    model = make()
    grey = np.asarray(HIGH.convert("L"))
    expected = model([Image.fromarray(grey)])
    for pictures in (grey, grey[:, :, None], np.stack([grey[:, :, None]])):
        assert torch.equal(model(pictures), expected)
    torch.testing.assert_close(model(torch.from_numpy(grey.copy())[None]), expected, rtol=0, atol=5e-3)


def test_super_resolved_pictures() -> None:
    model = make()
    out = model.super_resolve([HIGH, LOW])
    assert out.shape == (2, 3, 48, 32)
    assert 0 <= out.min() < out.max() <= 1
    assert model.super_resolve([]).shape == (0, 3, 48, 32)
    resized = np.asarray(HIGH.resize((32, 48), Image.Resampling.BILINEAR)) / 255
    kept = model.super_resolve([HIGH, LOW], mode="auto")
    close(kept[0].permute(1, 2, 0), torch.from_numpy(resized).float())
    close(kept[1], out[1])


def test_always_in_eval_mode_and_without_gradients() -> None:
    model = make()
    outer = nn.Sequential(model)
    outer.train()
    assert not any(module.training for module in model.modules())
    assert not model([HIGH]).requires_grad


def test_bf16_and_compiled_give_close_features(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make()([HIGH, LOW])
    torch.testing.assert_close(make(precision="bf16")([HIGH, LOW]), expected, rtol=0, atol=2e-2)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    close(make(compile=True)([HIGH, LOW]), expected)
    assert len(make(compile=True).state_dict()) == len(make().state_dict()), "no network is registered twice"


def test_folded_networks_compute_the_same(tmp_path: Path) -> None:
    model, fast = make(), make(fold=True)
    for served in (model.critic, model.generator):
        assert any(isinstance(m, nn.BatchNorm2d) for m in served.modules())  # type: ignore[union-attr]
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in fast.modules())
    close(fast([HIGH, LOW], normalize=False), model([HIGH, LOW], normalize=False))
    close(fast.super_resolve(LOW), model.super_resolve(LOW))
    with pytest.raises(ValueError, match="folded"):
        fast.save_pretrained(tmp_path / "x.safetensors")


@pytest.mark.parametrize("with_generator", [True, False])
def test_a_file_brings_it_back(tmp_path: Path, with_generator: bool) -> None:
    model = make(with_generator, mode="always", interpolation="bicubic", lr_height=33)
    path = tmp_path / "model.safetensors"
    model.save_pretrained(path)
    again = SRReID.from_pretrained(path)
    assert torch.equal(again([HIGH, LOW]), model([HIGH, LOW]))
    assert (again.size, again.interpolation, again.mode, again.lr_height) == ((48, 32), "bicubic", "always", 33)
    assert SRReID.from_pretrained(str(path), mode="never", batch_size=2).mode == "never"
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_osnet_of_torchreid_with_a_generator_of_ours(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path / "model.safetensors")
    critic = build_osnet("osnet_x0_5", 7)
    state = {f"module.{name}": value for name, value in critic.state_dict().items()}
    torch.save({"state_dict": state, "rank1": np.float64(0.9)}, tmp_path / "osnet.pth")
    alone = SRReID.from_torchreid(tmp_path / "osnet.pth")
    assert alone.size == (256, 128)
    assert alone.generator is None
    ours = SRReID.from_torchreid(tmp_path / "osnet.pth", generator=tmp_path / "model.safetensors", mode="always")
    assert ours.size == (48, 32)
    assert ours.mode == "always"
    with torch.inference_mode():
        expected = critic.eval()(model.generate(torch.stack([model.prepare(HIGH)])))
    close(ours(HIGH, normalize=False), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"nonsense", "no safetensors file"),
        ({}, "holds no configuration"),
        ({"intact_fast": json.dumps({"version": 99})}, "written in version 99"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "wrong.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file({"x": torch.zeros(1)}, path, metadata=content)
    with pytest.raises(UserError, match=rf"wrong\.safetensors: .*{message}") as caught:
        SRReID.from_pretrained(path)
    assert "\n" not in str(caught.value)


def test_a_file_whose_tensors_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = make()
    assert model.generator is not None
    model.generator.settings["widths"] = [4, 4, 4, 8]
    model.save_pretrained(path)
    with pytest.raises(UserError, match="do not fit its own configuration"):
        SRReID.from_pretrained(path)
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not an OSNet checkpoint"):
        SRReID.from_torchreid(tmp_path / "x.pth")


NAN = torch.rand(1, 3, 20, 10)
NAN[0, 1, 3, 4] = torch.nan


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (NAN, "NaN"),
        ([NAN[0]], "NaN"),
        ([NAN[0].permute(1, 2, 0).numpy()], "NaN"),
        (torch.randn(1, 3, 20, 10), 'tensors="imagenet"'),
        (torch.zeros(1, 3, 20, 10, dtype=torch.int64), "int64"),
        (torch.zeros(1, 2, 20, 10), "1, 3 or 4 channels"),
        (torch.zeros(1, 3, 0, 10), "channels"),
        (torch.zeros(20, 10), "C×H×W"),
        (np.zeros((20, 10, 5), np.uint8), "H×W×3"),
        ([np.zeros((20, 10, 3), np.int32)], "int32"),
        ([np.full((20, 10, 3), 2.0)], "from 0 to 1"),
        ([None], "NoneType"),
        ([HIGH, 3], "int"),
    ],
)
def test_what_is_no_picture_is_named(pictures: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(pictures)


def test_a_filter_that_exists_on_the_host_only() -> None:
    with pytest.raises(ValueError, match="interpolation lanczos: PyTorch has no such filter"):
        make(interpolation="lanczos")(torch.zeros(1, 3, 20, 10))
    assert make(interpolation="lanczos")([HIGH]).shape == (1, 512)
    assert prepare_tensor(torch.zeros(0, 3, 5, 5), (4, 4), "bilinear", "unit").shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    "options", [{"mode": "sometimes"}, {"precision": "int8"}, {"tensors": "bgr"}, {"batch_size": 0}]
)
def test_unknown_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


def save_as(path: Path, image: Image.Image, mode: str) -> None:
    if mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    elif mode == "16-bit":
        Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257).save(path)
    else:
        image.convert(mode).save(path)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("L", "png"),
        ("LA", "png"),
        ("RGBA", "png"),
        ("P", "png"),
        ("CMYK", "tif"),
        ("exif", "png"),
        ("16-bit", "png"),
    ],
)
def test_pictures_of_any_mode(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save_as(path, HIGH, mode)
    expected = HIGH.convert("L") if mode in ("L", "LA", "16-bit") else HIGH
    if mode == "P":
        expected = HIGH.convert("P")
    difference = np.asarray(read_image(path), int) - np.asarray(expected.convert("RGB"), int)
    assert abs(difference).max() <= 2
    with Image.open(path) as opened:
        assert torch.equal(make()([opened]), make()([path]))


def test_extreme_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    assert model([picture(1, 1, 0), picture(1, 900, 1), picture(900, 1, 2)]).isfinite().all()
    picture(60, 60, 3).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r"huge\.png: unreadable picture .*more pixels"):
        model(tmp_path / "huge.png")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    HIGH.save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    for name, reason in (("a.jpg", "truncated"), ("f.tif", "floating-point"), ("none.png", "no such file")):
        with pytest.raises(UserError, match=rf"{name}: unreadable picture .*{reason}"):
            make()([HIGH, tmp_path / name])


def test_a_critic_of_larger_input_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SRReID(build_osnet("osnet_x0_25", 3, enlarge=2), None, (48, 32))
    model.save_pretrained(tmp_path / "model.safetensors")
    loaded = SRReID.from_pretrained(tmp_path / "model.safetensors")
    assert loaded.critic.enlarge == 2
    pictures = torch.rand(2, 3, 48, 32)
    torch.testing.assert_close(loaded(pictures), model(pictures))


def test_an_osnet_of_torchreid_behind_a_small_generator_sees_what_that_ones_critic_saw(
    tmp_path: Path,
) -> None:
    theirs = build_osnet("osnet_x0_25", 3, enlarge=2)
    SRReID(theirs, Generator((4, 4, 4, 4)), (48, 32)).save_pretrained(tmp_path / "model.safetensors")
    torch.save(build_osnet("osnet_x0_25", 7).state_dict(), tmp_path / "osnet.pth")
    served = SRReID.from_torchreid(tmp_path / "osnet.pth", generator=tmp_path / "model.safetensors")
    assert (served.critic.enlarge, served.size) == (2, (48, 32))
