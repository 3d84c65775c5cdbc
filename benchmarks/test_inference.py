"""Pictures per second of the retrieval module: C alone, and G in front of C."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.setup import device_of, random_batch, synchronise
from intact_fast.config.options import Config
from intact_fast.config.presets import CPU, PAPER
from intact_fast.models import build_osnet
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.step.networks import build_generator

SIZES: dict[str, tuple[Config, int]] = {"cpu-preset": (CPU, 32), "paper-preset": (PAPER, 4)}


@pytest.mark.parametrize("path", ["critic only", "G and critic"])
@pytest.mark.parametrize("size", SIZES)
def test_inference(benchmark: BenchmarkFixture, size: str, path: str) -> None:
    config, cpu_batch = SIZES[size]
    device = device_of()
    batch_size = 64 if device.type == "cuda" else cpu_batch
    torch.manual_seed(0)
    model = SRReID(build_osnet(config.critic.arch, 751), build_generator(config)).to(
        device, memory_format=torch.channels_last
    )
    x_l = random_batch(config, batch_size, device).x_l
    assert x_l is not None

    def embed() -> None:
        model.embed(model.generate(x_l) if path == "G and critic" else x_l)
        synchronise(device)

    benchmark.group = f"inference, {size}"
    benchmark.extra_info["row"] = path
    benchmark.pedantic(embed, rounds=5 if size == "cpu-preset" or device.type == "cuda" else 3, warmup_rounds=1)
    if benchmark.disabled:
        return
    benchmark.extra_info["img_per_s"] = batch_size / benchmark.stats.stats.median
    benchmark.extra_info["batch_size"] = batch_size
    benchmark.extra_info["device"] = str(device)
