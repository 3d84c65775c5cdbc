"""A process of the stage ``distributed``, under torchrun: it trains, and the first one writes what was found."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.gpu.ladder import config_of
from benchmarks.setup import CLASSES, random_batch, synchronise
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process, process_group
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.plan import plan_step

PRESET = "fast"
"""It has all networks: D, φ and σ, and an averaged G."""


@contextmanager
def group(kind: str) -> Iterator[tuple[Process, str]]:
    """Join the group as a training does, or over gloo on the one GPU that there is; gives the backend's name, too."""
    if kind == "cpu" or torch.cuda.device_count() > 1:
        with process_group(kind) as process:
            yield process, dist.get_backend() if dist.is_initialized() else "none"
        return
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    dist.init_process_group("gloo")
    try:
        size = dist.get_world_size()
        control = dist.new_group(backend="gloo") if size > 1 else None
        yield Process(dist.get_rank(), size, device, control), "gloo" if size > 1 else "none"
    finally:
        dist.destroy_process_group()


def spread(process: Process, tensors: list[Tensor]) -> float:
    """Greatest difference of any element between processes."""
    together = torch.cat([tensor.detach().flatten().double().cpu() for tensor in tensors])
    gathered = process.gather(together)
    return max((other - gathered[0]).abs().max().item() for other in gathered)


def train(process: Process, smoke: bool) -> dict[str, Any]:
    """Train on other pictures in each process."""
    config = config_of(PRESET, smoke)
    config = replace(config, training=replace(config.training, compile="off", cuda_graph="off", f_c_table=False))
    torch.manual_seed(0)
    task = IntactTask(config, build_osnet(config.critic.arch, CLASSES), process, plan_step(config, process))
    size = config.training.batch_size
    batches = [random_batch(config, size, process.device, seed=2 * i + process.rank) for i in range(2)]
    repeats = 2 if smoke else 20
    times: list[float] = []
    record: dict[str, Tensor] = {}
    for number in range(-2, repeats):
        process.barrier()
        synchronise(process.device)
        begin = time.perf_counter()
        record = task.step(batches[number % 2], 1000 + number, False)
        synchronise(process.device)
        if number >= 0:
            times.append(time.perf_counter() - begin)
    median = statistics.median(process.gather(statistics.median(times)))
    networks = task.networks
    trained = [p for p in networks.parameters() if p.requires_grad]
    finite = all(bool(torch.isfinite(value).all()) for name, value in record.items() if name.startswith("loss/"))
    return {
        "img_per_s": process.world_size * size / median,
        "median_ms": 1e3 * median,
        "difference": spread(process, trained),
        "buffers_differ": spread(process, [b for b in networks.generator.buffers() if b.is_floating_point()]),
        "finite": all(process.gather(finite)),
    }


def main() -> None:
    """Train, and write what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    with group(options.device) as (process, backend):
        found = {"backend": backend, **train(process, options.smoke)}
        if process.is_main:
            options.file.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
