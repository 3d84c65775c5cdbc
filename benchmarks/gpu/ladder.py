"""Stage ``ladder``: what each switch of an iteration wins, with the paper's G and with the light one of ``best``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu.stage import Outcome, Task
from benchmarks.ladder import Ground, Rung, for_record, measure_rung, shared_training, table_of
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS

NETWORKS = ("paper", "best")
SECONDS = {"off": 10.0, "on": 75.0}
"""Time that a rung needs at least, by whether it compiles; one that has less is left out."""


def rungs(device: torch.device, smoke: bool = False) -> list[Rung]:
    """The five that a stage has time for; on a CPU those without a GPU.

    A smoke run has no 16 bits: in tiny networks their rounding is beyond what the ladder's check allows.
    """
    shared = shared_training(device) | ({"precision": "fp32"} if smoke else {})
    naive = {**shared, "step": "naive", "precision": "fp32"}
    found = [
        Rung("eager, float32, NCHW, nothing shared", "", naive, channels_last=False),
        *([] if smoke else [Rung("channels-last in bfloat16, nothing shared", "", naive, autocast=True)]),
        Rung("+ shared forward passes", "--training.precision bf16", shared),
    ]
    if device.type == "cuda":
        graphed = {**shared, "f_c_table": True, "cuda_graph": "on", "kernels": "triton"}
        switches = "--training.f-c-table --training.cuda-graph on --training.kernels triton"
        found += [
            Rung("+ table of f_c, CUDA graphs, fused operators", switches, graphed),
            Rung("+ compiled roles", "--training.compile on", {**graphed, "compile": "on"}),
        ]
    return found


def config_of(preset: str, smoke: bool) -> Config:
    """The networks, tiny ones in a smoke run."""
    config = PRESETS[preset]
    if not smoke:
        return config
    small = PRESETS["cpu"]
    return replace(
        config,
        data=replace(config.data, height=48, width=32, backend="pillow", threads=0),
        generator=replace(config.generator, widths=(4, 4, 6, 6), light_width=4, light_blocks=1),
        discriminator=replace(small.discriminator, widths=(4, 4, 6, 8), hidden=10),
        association=replace(config.association, hidden=(12, 10), latent=8),
        critic=replace(config.critic, arch="osnet_x0_25"),
        training=replace(config.training, batch_size=4),
    )


def measure(task: Task) -> Outcome:
    """Climb both ladders: first what needs no compiling, of either G, then what does."""
    chosen = rungs(task.device, task.smoke)
    configs = {name: config_of(name, task.smoke) for name in NETWORKS}
    grounds = {name: Ground.of(config, task.device, chosen[0]) for name, config in configs.items()}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
    left_out: list[str] = []
    for compiling in ("off", "on"):
        for name, config in configs.items():
            for rung in (rung for rung in chosen if rung.training["compile"] == compiling):
                if task.smoke or task.clock.has(SECONDS[compiling]):
                    repeats = 1 if task.smoke else 20
                    rows[name].append(measure_rung(rung, config, task.device, grounds[name], repeats))
                else:
                    left_out.append(f"{name}: {rung.name}")
    return _outcome({name: for_record(found) for name, found in rows.items()}, configs, left_out)


def _outcome(rows: dict[str, list[dict[str, Any]]], configs: dict[str, Config], left_out: Sequence[str]) -> Outcome:
    table: list[str] = []
    best: list[str] = []
    figures: dict[str, Any] = {}
    for name, found in rows.items():
        size = configs[name].training.batch_size
        table += [f"preset {name}, batch {size}", *table_of(found)]
        figures[name] = {"preset": name, "batch_size": size, "ladder": found}
        if found:
            fastest = max(found, key=lambda row: row["img_per_s"])
            best.append(f"{name} {fastest['img_per_s']:.4g} ({fastest['ratio']:.2f} times its first rung)")
    headline = f"Pictures per second at best: {', '.join(best)}."
    return Outcome(headline, {**figures["paper"], "light": figures["best"]}, table, bool(best), left_out=left_out)
