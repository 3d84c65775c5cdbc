"""The setup that benchmarks share: a device, random pictures and a ready training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.data.plan import Position
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process, choose_device
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.iteration import Step
from intact_fast.training.step.plan import plan_step

CLASSES = 751


def device_of() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return choose_device("auto")


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def captured(calls: Sequence[Callable[[], object]], warmup: int = 3) -> torch.cuda.CUDAGraph:
    """Capture some calls, one after another, in one CUDA graph, after warming up as capturing asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warmup):
            for call in calls:
                call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


def pictures_like_market(folder: Path, count: int) -> list[Path]:
    """JPEG files of Market-1501's size and about its bytes per picture, drawn at random."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((64, 128), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 6, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.jpg", quality=75)
    return sorted(folder.iterdir())


def random_batch(config: Config, batch_size: int, device: torch.device, seed: int = 0) -> Batch:
    """Pictures already on the device, so that no data path is measured."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, 3, config.data.height, config.data.width)
    x_h, x_l = (
        torch.randn(shape, generator=generator).to(device).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    label = torch.randint(CLASSES, (batch_size,), generator=generator).to(device)
    return Batch(x_h, x_l, label, torch.full_like(label, 2), torch.arange(batch_size), Position(0, 0))


def make_step(config: Config, device: torch.device) -> Step:
    """Networks of the configuration with random weights, ready to train."""
    torch.manual_seed(0)
    critic = build_osnet(config.critic.arch, CLASSES)
    process = Process(0, 1, device, None)
    return IntactTask(config, critic, process, plan_step(config, process)).run_step
