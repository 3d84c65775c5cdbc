"""``make gpu``: the CUDA tests and the paper-size throughput on one NVIDIA GPU, as one JSON record."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.setup import make_step, random_batch
from intact_fast.config import PAPER, Config
from intact_fast.configuration import to_dict
from intact_fast.errors import UserError, fail
from intact_fast.files import write_atomically

RECORDS = Path(__file__).parent / "records"
WARMUP, MEASURED, INPUT_SETS = 5, 20, 4


def main() -> int:
    """Run everything; the exit status is non-zero without a GPU or when a test fails."""
    if not torch.cuda.is_available():
        return fail(
            UserError("make gpu: PyTorch sees no NVIDIA GPU; run it where torch.cuda.is_available()"), False
        )
    tests = subprocess.run([sys.executable, "-m", "pytest", "-m", "cuda", "tests", "benchmarks"], check=False)
    # pytest's 5 is "no test selected", which proves nothing
    if tests.returncode != 0:
        return tests.returncode
    forms = {
        "naive fp32": replace(PAPER, training=replace(PAPER.training, form="naive", precision="fp32")),
        "shared fp32": replace(PAPER, training=replace(PAPER.training, precision="fp32")),
        "shared bf16": replace(PAPER, training=replace(PAPER.training, precision="bf16")),
    }
    record = {
        "date": datetime.date.today().isoformat(),
        "command": "make gpu",
        "machine": machine(),
        "versions": versions(),
        "config": to_dict(PAPER),
        "data": "random pictures already on the GPU; no data path",
        "training_step": {name: throughput(config) for name, config in forms.items()},
    }
    path = RECORDS / f"{record['date']}-{torch.cuda.get_device_name().replace(' ', '-').lower()}.json"
    number = 2
    while path.exists():
        path = path.with_name(f"{path.stem.split('_')[0]}_{number}.json")
        number += 1
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name, figures in record["training_step"].items():
        print(f"{name:<12} {figures['img_per_s']:>8.1f} img/s  {figures['peak_memory_gib']:>6.2f} GiB")
    print(f"record: {path}")
    return 0


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


def versions() -> dict[str, str | None]:
    """Versions of what the figures depend on."""
    result: dict[str, str | None] = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in ("torch", "triton", "nvidia-dali-cuda130", "intact_fast"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = None
    return result


if __name__ == "__main__":
    sys.exit(main())
