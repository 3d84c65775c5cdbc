"""Training pictures per second of one iteration of Algorithm 1, with shared passes and without."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.setup import device_of, make_step, random_batch, synchronise
from intact_fast.config.options import Config
from intact_fast.config.presets import CPU, PAPER

SIZES: dict[str, tuple[Config, int]] = {"cpu-preset": (CPU, 32), "paper-preset": (PAPER, 2)}


@pytest.mark.parametrize("kind", ["naive", "shared"])
@pytest.mark.parametrize("size", SIZES)
def test_training_step(benchmark: BenchmarkFixture, size: str, kind: str) -> None:
    """On a CPU the paper's sizes run with 2 pictures only: the figure is for orientation."""
    config, cpu_batch = SIZES[size]
    device = device_of()
    batch_size = config.training.batch_size if device.type == "cuda" else cpu_batch
    training = replace(config.training, step=kind, precision="fp32" if kind == "naive" else "auto")
    config = replace(config, training=training)
    step = make_step(config, device)
    batch = random_batch(config, batch_size, device)

    def iteration() -> None:
        step(batch, 1000, False)
        synchronise(device)

    benchmark.group = f"training step, {size}"
    benchmark.extra_info["row"] = kind
    benchmark.pedantic(iteration, rounds=5 if size == "cpu-preset" or device.type == "cuda" else 2, warmup_rounds=1)
    if benchmark.disabled:
        return
    benchmark.extra_info["img_per_s"] = batch_size / benchmark.stats.stats.median
    benchmark.extra_info["batch_size"] = batch_size
    benchmark.extra_info["device"] = str(device)
    benchmark.extra_info["threads"] = torch.get_num_threads()
