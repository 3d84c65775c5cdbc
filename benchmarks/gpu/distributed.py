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
SECONDS = 1.0
"""Time that the processes need at least; with less they are not started."""


def run_ranks(task: Task, ranks: int, file: Path) -> dict[str, Any] | None:
    """Let some processes train together, and read what the first one found; None where the stage's time is over.

    Raises:
        RuntimeError: One of them failed; the text is what they printed.
    """
    if not task.clock.has(SECONDS):
        return None
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    words = ["-m", "benchmarks.gpu.ranks", str(file), "--device", task.device.type, *["--smoke"] * task.smoke]
    environment = {"OMP_NUM_THREADS": "1", **os.environ} if task.smoke else dict(os.environ)
    with subprocess.Popen(
        [*command, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        try:
            output, _ = run.communicate(timeout=task.clock.left())
        except subprocess.TimeoutExpired:
            # torchrun ends its workers when it is asked to; killed, it would leave them behind
            run.terminate()
            run.communicate()
            return None
    if run.returncode != 0:
        raise RuntimeError(output)
    return json.loads(file.read_text(encoding="utf-8"))


def measure(task: Task) -> Outcome:
    """Train alone and together; after some iterations all processes must hold the same parameters."""
    gpus = torch.cuda.device_count() if task.device.type == "cuda" else 0
    names = {1: "one process", RANKS: f"{RANKS} processes{'' if gpus >= RANKS else ' that share one device'}"}
    with TemporaryDirectory() as folder:
        found = {ranks: run_ranks(task, ranks, Path(folder) / f"{ranks}.json") for ranks in names}
    table = [f"{'':<34}{'backend':>9}{'img/s':>9}{'ms':>9}"]
    for ranks, row in found.items():
        if row is not None:
            table.append(f"{names[ranks]:<34}{row['backend']:>9}{row['img_per_s']:>9.1f}{row['median_ms']:>9.1f}")
    alone, together = found.values()
    figures = {"gpus": gpus, "alone": alone, "together": together}
    if alone is None or together is None:
        left_out = [names[ranks] for ranks, row in found.items() if row is None]
        return Outcome(f"Not finished in time: {', '.join(left_out)}.", figures, table, False, left_out=left_out)
    table.append(f"greatest difference of parameters between processes: {together['difference']}")
    table.append(f"greatest difference of buffers between processes: {together['buffers_differ']:.3g}")
    passed = together["difference"] == 0 and together["finite"] and together["buffers_differ"] > 0
    headline = (
        f"{names[RANKS]} over {together['backend']} train {together['img_per_s']:.4g} pictures per second, "
        f"one {alone['img_per_s']:.4g}."
    )
    return Outcome(headline, figures, table, passed)
