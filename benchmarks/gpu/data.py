"""Stage ``data``: pictures per second of each way to a training picture, what a training waits for them, and parity."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.ladder import config_of
from benchmarks.gpu.stage import Outcome, Task
from benchmarks.setup import CLASSES, pictures_like_market, random_batch, synchronise
from intact_fast.config.options import Config, DataConfig
from intact_fast.data.batches import Batch
from intact_fast.data.loader import build_loader
from intact_fast.data.normalisation import IMAGENET_STD
from intact_fast.data.plan import Position
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.plan import plan_step

PICTURES, BATCHES, WARM_UP = 2048, 24, 8
PRESET = "best"
"""Whose iteration is shortest, so that the data path shows."""
SECONDS = 20.0
"""Time that a way needs at least."""
ON_DEVICE = "pictures in the device's memory already"
TOLERANCE = (0.5, 12.0)
"""Levels of 255 by which pictures may differ from Pillow's, on average and at most, where DALI decodes on the CPU.

A GPU decodes JPEG by other arithmetic. What it may differ by has not been measured, so that it is only shown.
"""


@dataclass(frozen=True)
class Way:
    """One way to a training picture.

    Attributes:
        name: In the table.
        options: Fields of `DataConfig`.
    """

    name: str
    options: dict[str, Any]


def ways(device: torch.device) -> list[Way]:
    """Those that are there on this machine; DALI's first, whose figures are wanted most."""
    found = []
    if find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None:
        dali = {"backend": "dali", "decode": "cpu"}
        if device.type == "cuda":
            found.append(Way("DALI, decoded on the GPU", {**dali, "decode": "gpu"}))
        found.append(Way("DALI, decoded on the CPU", dali))
        found.append(Way("DALI, decoded pictures cached", {**dali, "cache_mib": 2000}))
    return [*found, Way("torch DataLoader and Pillow", {"backend": "pillow"})]


@dataclass(frozen=True)
class Setting:
    """What all ways share: files, sizes and the training.

    Attributes:
        paths: Of the pictures.
        config: Networks and sizes.
        device: Where pictures go.
        batches: How many are timed.
        warm_up: How many before.
    """

    paths: list[Path]
    config: Config
    device: torch.device
    batches: int
    warm_up: int

    def read(self, data: DataConfig) -> Any:
        """Batches of one way, without end; to be closed."""
        loader = build_loader(
            self.paths,
            [i % CLASSES for i in range(len(self.paths))],
            data,
            batch_size=self.config.training.batch_size,
            seed=0,
            device=self.device,
        )
        return closing(loader.iterate(Position(0, 0)))

    def task(self) -> IntactTask:
        """A training whose iteration is as fast as it is without compiling."""
        process = Process(0, 1, self.device, None)
        critic = build_osnet(self.config.critic.arch, CLASSES)
        return IntactTask(self.config, critic, process, plan_step(self.config, process), len(self.paths))


def difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Levels of 255 by which normalised pictures differ, on average and at most."""
    levels = (a.cpu() - b.cpu()).abs() * 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return levels.mean().item(), levels.max().item()


def _measure_way(setting: Setting, data: DataConfig) -> dict[str, float]:
    size = setting.config.training.batch_size
    with setting.read(data) as batches:
        for _ in range(setting.warm_up):
            next(batches)
        synchronise(setting.device)
        begin = time.perf_counter()
        for _ in range(setting.batches):
            next(batches)
        synchronise(setting.device)
        alone = time.perf_counter() - begin
        return {"img_per_s": setting.batches * size / alone, **_train(setting, batches)}


def _train(setting: Setting, batches: Iterator[Batch]) -> dict[str, float]:
    """Pictures per second of a training, and the share of its time that the host waits for pictures."""
    task = setting.task()
    for number in range(setting.warm_up):
        task.step(next(batches), number, False)
    synchronise(setting.device)
    waited, begin = 0.0, time.perf_counter()
    for number in range(setting.batches):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        task.step(batch, setting.warm_up + number, False)
    synchronise(setting.device)
    seconds = time.perf_counter() - begin
    size = setting.config.training.batch_size
    return {
        "training_img_per_s": setting.batches * size / seconds,
        "wait_ms": 1e3 * waited / setting.batches,
        "wait_share": waited / seconds,
    }


def _parity(setting: Setting, data: DataConfig, reference: DataConfig) -> dict[str, float]:
    """Greatest differences of two ways' first batch, HR and LR pictures."""
    with setting.read(data) as ours, setting.read(reference) as theirs:
        a, b = next(ours), next(theirs)
    assert torch.equal(a.label.cpu(), b.label.cpu())
    assert torch.equal(a.r.cpu(), b.r.cpu())
    assert a.x_l is not None
    assert b.x_l is not None
    pairs = [difference(a.x_h, b.x_h), difference(a.x_l, b.x_l)]
    return {"mean_levels": max(mean for mean, _ in pairs), "max_levels": max(most for _, most in pairs)}


def _config(task: Task) -> Config:
    config = config_of(PRESET, task.smoke)
    threads = 0 if task.smoke else min(16, os.cpu_count() or 1)
    return replace(
        config,
        data=replace(config.data, threads=threads),
        # compiling would take a stage's time, and the way of the pictures is the same
        training=replace(config.training, compile="off", f_c_table=False),
    )


def measure(task: Task) -> Outcome:
    """Measure every way."""
    config = _config(task)
    counts = (16, 2, 1) if task.smoke else (PICTURES, BATCHES, WARM_UP)
    chosen = ways(task.device)
    rows: dict[str, dict[str, Any]] = {}
    left_out = []
    with TemporaryDirectory() as folder:
        paths = pictures_like_market(Path(folder), counts[0])
        setting = Setting(paths, config, task.device, *counts[1:])
        size = config.training.batch_size
        ready = itertools.cycle([random_batch(config, size, task.device, seed) for seed in range(2)])
        rows[ON_DEVICE] = _train(setting, ready)
        reference = replace(config.data, backend="pillow", threads=0)
        for way in chosen:
            if not (task.smoke or task.clock.has(SECONDS)):
                left_out.append(way.name)
                continue
            data = replace(config.data, **way.options)
            rows[way.name] = _measure_way(setting, data)
            if data.backend == "dali":
                rows[way.name] |= _parity(setting, data, reference)
    return _outcome(rows, size, left_out)


def _outcome(rows: dict[str, dict[str, Any]], size: int, left_out: list[str]) -> Outcome:
    table = [
        f"{'batch ' + str(size):<42}{'img/s':>9}{'training':>10}{'wait, ms':>10}{'share':>7}   from Pillow's, levels"
    ]
    for name, row in rows.items():
        alone = f"{row['img_per_s']:.0f}" if "img_per_s" in row else ""
        apart = f"{row['mean_levels']:.2f}, at most {row['max_levels']:.0f}" if "mean_levels" in row else ""
        training = f"{row['training_img_per_s']:>10.0f}{row['wait_ms']:>10.2f}{row['wait_share']:>7.2f}"
        table.append(f"{name:<42}{alone:>9}{training}   {apart}")
    read = {name: row for name, row in rows.items() if "img_per_s" in row}
    fastest = max(read, key=lambda name: read[name]["img_per_s"]) if read else ""
    headline = f"{fastest} gives {read[fastest]['img_per_s']:.4g} training pictures per second." if read else "Nothing."
    mean, most = TOLERANCE
    compared = [row for name, row in read.items() if "mean_levels" in row and "GPU" not in name]
    alike = all(row["mean_levels"] <= mean and row["max_levels"] <= most for row in compared)
    return Outcome(headline, {"batch_size": size, "ways": rows}, table, alike and bool(read), left_out=left_out)
