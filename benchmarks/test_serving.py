"""Crops per second of SRReID against the same networks glued together by hand, and the memory of indexing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.setup import device_of, synchronise
from intact_fast import SRReID
from intact_fast.config.presets import CPU
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.models import build_osnet
from intact_fast.training.step.networks import build_generator

COUNT = 128
HEIGHTS = {"native 32x16": (32, 16), "native 64x32": (64, 32), "native 128x64": (128, 64)}
FORMS = ["by hand", "SRReID", "SRReID folded", "SRReID folded compiled", "SRReID folded bf16"]


def crops(size: tuple[int, int]) -> list[Image.Image]:
    """Smooth random crops of (height, width), as a detector hands them over."""
    rng = np.random.default_rng(0)
    height, width = size
    return [
        Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)).resize((width, height)) for _ in range(COUNT)
    ]


def by_hand(model: SRReID, images: list[Image.Image], batch_size: int) -> torch.Tensor:
    """What one writes first: Pillow's resize, a NCHW float32 batch, G and C under no_grad."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    device, features = model.device, []
    assert model.generator is not None
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = []
            for image in images[start : start + batch_size]:
                resized = image.resize((model.size[1], model.size[0]), Image.Resampling.BILINEAR)
                batch.append((torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - mean) / std)
            x = torch.stack(batch).to(device)
            if images[start].height < model.lr_height:
                x = model.generator(x)
            features.append(model.critic(x))
    return F.normalize(torch.cat(features))


def make_model(form: str, batch_size: int) -> SRReID:
    """Preset `cpu`'s networks; those glued by hand stay in PyTorch's default memory format."""
    torch.manual_seed(0)
    critic = build_osnet(CPU.critic.arch, 751)
    size = (CPU.data.height, CPU.data.width)
    precision = "bf16" if form.endswith("bf16") else "fp32"
    options = {
        "batch_size": batch_size,
        "precision": precision,
        "fold": "folded" in form,
        "compile": "compiled" in form,
    }
    model = SRReID(critic, build_generator(CPU), size, **options)
    model.to(device_of())
    return model.to(memory_format=torch.contiguous_format) if form == "by hand" else model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch_size", [1, 16, 64])
@pytest.mark.parametrize("native", HEIGHTS)
def test_crops_to_features(benchmark: BenchmarkFixture, native: str, batch_size: int, form: str) -> None:
    images = crops(HEIGHTS[native])
    model = make_model(form, batch_size)
    expected = by_hand(make_model("by hand", batch_size), images[:16], batch_size)

    def features() -> torch.Tensor:
        found = by_hand(model, images, batch_size) if form == "by hand" else model(images)
        synchronise(model.device)
        return found

    tolerance = 2e-2 if form.endswith("bf16") else 1e-4
    torch.testing.assert_close(features()[:16], expected, rtol=0, atol=tolerance)
    benchmark.group = f"crops to features, {native}, batch {batch_size}"
    benchmark.extra_info["row"] = form
    benchmark.pedantic(features, rounds=5, warmup_rounds=1)
    if not benchmark.disabled:
        benchmark.extra_info["img_per_s"] = COUNT / benchmark.stats.stats.median
    benchmark.extra_info["device"] = str(model.device)


_INDEXING = """
import json, resource, sys
from pathlib import Path
import torch
from benchmarks.test_serving import make_model
from intact_fast.serving.gallery import Gallery, Identity, update_gallery
from intact_fast.serving.picture_reading import Unreadable, list_pictures
folder = Path(sys.argv[1])
model = make_model("SRReID", 64)
pictures = list_pictures(folder).pictures
def index(name):
    return Gallery.open(folder.parent / name, Identity("x", "x", "x"))
update_gallery(index("first.lance"), model, folder, pictures[:256], Unreadable())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
update_gallery(index("index.lance"), model, folder, pictures, Unreadable())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"before_mib": before / 1024, "after_mib": after / 1024}))
"""


def test_index_of_ten_thousand_pictures(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """10,000 pictures take 527 MiB prepared as the networks see them; the index adds them a batch at a time."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    for i, image in enumerate(crops(HEIGHTS["native 128x64"])):
        image.save(folder / f"{i:05d}.jpg")
    files = sorted(folder.iterdir())
    for i in range(COUNT, 10_000):
        os.link(files[i % COUNT], folder / f"{i:05d}.jpg")
    found: dict[str, float] = {}

    def index() -> None:
        command = [sys.executable, "-c", _INDEXING, str(folder)]
        root = Path(__file__).parents[1]
        output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        found.update(json.loads(output))

    benchmark.group = "index of 10,000 pictures"
    benchmark.extra_info["row"] = "Gallery"
    benchmark.pedantic(index, rounds=1)
    benchmark.extra_info |= found
