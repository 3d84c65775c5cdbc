"""Training throughput at the paper's sizes on one NVIDIA GPU, written as one JSON record."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.operators import measure_operators
from benchmarks.record import versions, write_record
from benchmarks.setup import make_step, random_batch
from intact_fast.config import PAPER, Config
from intact_fast.configuration import to_dict

WARMUP, MEASURED, INPUT_SETS = 5, 20, 4


def measure() -> None:
    """Measure every form of the training step, write the record and print a short table."""
    forms = {
        "naive fp32": replace(PAPER, training=replace(PAPER.training, form="naive", precision="fp32")),
        "shared fp32": replace(PAPER, training=replace(PAPER.training, precision="fp32")),
        "shared bf16": replace(PAPER, training=replace(PAPER.training, precision="bf16")),
        "shared bf16, fused operators": replace(
            PAPER, training=replace(PAPER.training, precision="bf16", kernels="triton")
        ),
    }
    record = {
        "command": "make gpu",
        "machine": machine(),
        "versions": {"cuda": torch.version.cuda, **versions("torch", "triton", "nvidia-dali-cuda130")},
        # PyTorch's defaults: "fp32" convolutions may use TF32
        "tf32": {
            "cudnn": torch.backends.cudnn.allow_tf32,
            "matmul": torch.backends.cuda.matmul.allow_tf32,
        },
        "config": to_dict(PAPER),
        "data": "random pictures already on the GPU; no data path",
        "training_step": {name: throughput(config) for name, config in forms.items()},
        "operators": measure_operators(torch.device("cuda", 0)),
    }
    path = write_record(record, torch.cuda.get_device_name().replace(" ", "-").lower())
    for name, figures in record["training_step"].items():
        print(f"{name:<30} {figures['img_per_s']:>8.1f} img/s  {figures['peak_memory_gib']:>6.2f} GiB")
    print(f"record: {path}")


def throughput(config: Config) -> dict[str, Any]:
    """Median training pictures per second of the whole iteration, over several input sets."""
    device = torch.device("cuda", 0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    step = make_step(config, device)
    size = config.training.batch_size
    batches = [random_batch(config, size, device, seed) for seed in range(INPUT_SETS)]
    seconds = []
    for i in range(WARMUP + MEASURED):
        torch.cuda.synchronize(device)
        begin = time.perf_counter()
        step(batches[i % INPUT_SETS], i, False)
        torch.cuda.synchronize(device)
        if i >= WARMUP:
            seconds.append(time.perf_counter() - begin)
    return {
        "img_per_s": size / statistics.median(seconds),
        "median_ms": 1e3 * statistics.median(seconds),
        "min_ms": 1e3 * min(seconds),
        "max_ms": 1e3 * max(seconds),
        "batch_size": size,
        "peak_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30,
    }


def machine() -> dict[str, Any]:
    """Kind of machine, without its name."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "cpu": platform.machine(),
        "system": platform.system(),
    }
