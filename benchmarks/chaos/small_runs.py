"""The smallest training that still does everything, as its own process or inside of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
SMALL = tuple(
    "--preset cpu --device cpu --data.dataset folder --data.height 32 --data.width 16 --data.val-fraction 0.4 "
    "--generator.widths 4 4 6 6 --discriminator.widths 4 4 6 8 --discriminator.hidden 10 "
    "--association.hidden 12 10 --association.latent 8 --critic.iterations 1 --critic.batch-size 4 "
    "--training.precision fp32 --training.batch-size 4".split()
)
"""Options of it; data, name and counts come beside them."""
START_S = 300.0
"""Longest that a process may take until it trains, or to evaluate and end, on a machine that others use."""


def draw_pictures(folder: Path, identities: int = 12, pictures: int = 2) -> Path:
    """Draw a data set of smooth random pictures: two cameras, ``pictures`` of every identity in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for pid in range(identities):
        for camera in (1, 2):
            for number in range(pictures):
                coarse = np.random.default_rng([pid, camera, number]).integers(0, 256, (6, 3, 3), dtype=np.uint8)
                picture = Image.fromarray(coarse).resize((24, 48), Image.Resampling.BICUBIC)
                picture.save(folder / f"{pid:04d}_cam{camera}_{number}.jpg")
    return folder


def command(module: str, options: Sequence[object], processes: int = 1) -> list[str]:
    """Give the command line of a module of the package, under torchrun where there are several processes."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*start, module, *map(str, options)]


def start(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> subprocess.Popen[str]:
    """Start a command in the repository's root with one thread, in a session of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **(environment or {})}
    # a number of its own would be the lesser of both
    variables["MKL_NUM_THREADS"] = variables["OMP_NUM_THREADS"]
    output = subprocess.PIPE if log is None else log.open("w")
    try:
        return subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=variables,
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        if log is not None:
            output.close()  # type: ignore[union-attr]


def finish_all(
    commands: Mapping[str, Sequence[str]], environments: Mapping[str, Mapping[str, str]] | None = None, at_once: int = 2
) -> dict[str, str]:
    """Run commands, some at once; give the output of each that failed, by its name."""
    waiting = list(commands.items())
    running: dict[str, subprocess.Popen[str]] = {}
    failed = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            name, arguments = waiting.pop(0)
            running[name] = start(arguments, (environments or {}).get(name))
        name, process = next(iter(running.items()))
        output, _ = process.communicate()
        if process.returncode != 0:
            failed[name] = output.strip()[-300:]
        del running[name]
    return failed


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Say whether a condition came true in so many seconds."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def figures_of(run: Path) -> list[dict[str, Any]]:
    """Read the figures of INTACT's iterations that a run's folder has so far."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return [record for record in map(json.loads, lines) if record["task"] == "INTACT"]


def iterations_done(run: Path) -> int:
    """The last iteration of INTACT whose figures a run's folder has; 0 before the first."""
    return max((int(record["iteration"]) for record in figures_of(run)), default=0)
