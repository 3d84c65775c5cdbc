"""Stage ``distributed``: two processes train together, over NCCL where there are two GPUs, else over gloo on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.gpu.stage import Outcome, Task

ROOT = Path(__file__).parents[2]
RANKS = 2


def run_ranks(task: Task, ranks: int, file: Path) -> dict[str, Any]:
    """Let some processes train together, and read what the first one found.

    Raises:
        RuntimeError: One of them failed; the text is what they printed.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    words = ["-m", "benchmarks.gpu.ranks", str(file), "--device", task.device.type, *["--smoke"] * task.smoke]
    environment = {"OMP_NUM_THREADS": "1", **os.environ} if task.smoke else dict(os.environ)
    run = subprocess.run(
        [*command, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=max(task.clock.left(), 30.0),
    )
    if run.returncode != 0:
        raise RuntimeError(run.stdout + run.stderr)
    return json.loads(file.read_text(encoding="utf-8"))


def measure(task: Task) -> Outcome:
    """Train alone and together; after some iterations all processes must hold the same parameters."""
    gpus = torch.cuda.device_count() if task.device.type == "cuda" else 0
    with TemporaryDirectory() as folder:
        alone = run_ranks(task, 1, Path(folder) / "alone.json")
        together = run_ranks(task, RANKS, Path(folder) / "together.json")
    backend = together["backend"]
    shared = "" if gpus >= RANKS else " that share one device"
    table = [f"{'':<34}{'backend':>9}{'img/s':>9}{'ms':>9}"]
    for name, row in (("one process", alone), (f"{RANKS} processes{shared}", together)):
        table.append(f"{name:<34}{row['backend']:>9}{row['img_per_s']:>9.1f}{row['median_ms']:>9.1f}")
    table.append(f"greatest difference of parameters between processes: {together['difference']}")
    table.append(f"greatest difference of buffers between processes: {together['buffers_differ']:.3g}")
    passed = together["difference"] == 0 and together["finite"] and together["buffers_differ"] > 0
    headline = (
        f"{RANKS} processes over {backend}{shared} train {together['img_per_s']:.4g} pictures per second, "
        f"one {alone['img_per_s']:.4g}."
    )
    return Outcome(headline, {"gpus": gpus, "alone": alone, "together": together}, table, passed)
