"""The ladder: worth of each switch of the training step (``python -m benchmarks.ladder [PRESET] [--with-compile]``).

One table from one run: every rung adds one switch to the one above it, from what a user would write first. Each rung
must give the first one's losses before it is timed. Pictures are on the device already; what the data path adds is in
the breakdown of one iteration below the table. ``make gpu`` climbs a shorter one (`benchmarks.gpu.ladder`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record
from benchmarks.roofline.operation import counter_of_flops
from benchmarks.setup import CLASSES, device_of, pictures_like_market, random_batch, synchronise
from intact_fast.config.devices import computes_bfloat16
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS
from intact_fast.data.batches import Batch
from intact_fast.data.loader import build_loader
from intact_fast.data.plan import Position
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.plan import plan_step
from intact_fast.training.step.shared import SharedStep

INPUT_SETS, GATE_ITERATIONS = 4, 4
PICTURES_READ = 256


@dataclass(frozen=True)
class Rung:
    """One row of the table.

    Attributes:
        name: What it adds.
        switch: The options that a user gives for it; empty where there are none.
        training: Fields of `TrainingConfig`.
        channels_last: Whether networks and pictures are.
        autocast: Wrap the whole step in bfloat16 autocast, as one would by hand around the naive form.
    """

    name: str
    switch: str
    training: dict[str, Any]
    channels_last: bool = True
    autocast: bool = False


def shared_training(device: torch.device) -> dict[str, Any]:
    """Shared forward passes, in bfloat16 where the device computes it, and nothing else: fields of `TrainingConfig`."""
    return {
        "step": "shared",
        "precision": "bf16" if computes_bfloat16(device) else "fp32",
        "compile": "off",
        "cuda_graph": "off",
        "kernels": "torch",
        "f_c_table": False,
    }


def rungs(device: torch.device, with_compile: bool) -> list[Rung]:
    """The table from the top; compiling on a CPU takes minutes and is left out unless asked for.

    Bfloat16 is left out where the processor only emulates it.
    """
    sixteen = computes_bfloat16(device)
    shared = shared_training(device)
    plain = {**shared, "precision": "fp32"}
    found = [
        Rung("eager, float32, NCHW, nothing shared", "", {**plain, "step": "naive"}, channels_last=False),
        Rung("+ channels-last", "--training.step naive", {**plain, "step": "naive"}),
        *([Rung("channels-last in bfloat16, nothing shared", "", {**plain, "step": "naive"}, autocast=True)] * sixteen),
        Rung("+ shared forward passes", "--training.precision bf16" if sixteen else "", shared),
        Rung("+ table of f_c, filled", "--training.f-c-table", {**shared, "f_c_table": True}),
    ]
    if device.type == "cpu" and sixteen:
        exact = {**plain, "step": "shared"}
        found.insert(2, Rung("+ shared forward passes, float32", "", exact))
        found.insert(3, Rung("+ table of f_c, filled, float32", "--training.f-c-table", {**exact, "f_c_table": True}))
    if with_compile:
        compiled = {**shared, "f_c_table": True, "compile": "on"}
        found.append(Rung("+ compiled roles", "--training.compile on", compiled))
    if device.type == "cuda":
        last = {**shared, "f_c_table": True, "compile": "on" if with_compile else "off", "cuda_graph": "on"}
        found.append(Rung("+ iterations replayed as CUDA graphs", "--training.cuda-graph on", last))
        found.append(Rung("+ fused operators of auto", "--training.kernels auto", {**last, "kernels": "auto"}))
        if with_compile:  # else that is what `auto` takes
            found.append(Rung("+ all fused operators", "--training.kernels triton", {**last, "kernels": "triton"}))
    return found


class Climber:
    """A rung ready to train: its task and its batches."""

    def __init__(self, rung: Rung, config: Config, device: torch.device) -> None:
        self.rung, self.device = rung, device
        config = replace(config, training=replace(config.training, **rung.training))
        size = config.training.batch_size
        torch.manual_seed(0)
        critic = build_osnet(config.critic.arch, CLASSES)
        process = Process(0, 1, device, None)
        self.task = IntactTask(config, critic, process, plan_step(config, process), pictures=INPUT_SETS * size)
        self.batches = []
        for i in range(INPUT_SETS):
            view = 2 * np.arange(i * size, (i + 1) * size)
            batch = random_batch(config, size, device, seed=i)
            batch = replace(batch, view=torch.from_numpy(view).to(device), view_on_host=view)
            self.batches.append(batch if rung.channels_last else _nchw(batch))
        if not rung.channels_last:
            self.task.networks.to(memory_format=torch.contiguous_format)
            # the views share storage with what was just laid out anew
            self.task.networks.make_frozen_views()

    def step(self, number: int) -> Record:
        """One iteration, past the warm-up of L_dis."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.rung.autocast):
            return self.task.step(self.batches[number % INPUT_SETS], 100_000 + number, False)


def _nchw(batch: Batch) -> Batch:
    assert batch.x_l is not None
    return replace(batch, x_h=batch.x_h.contiguous(), x_l=batch.x_l.contiguous())


def losses(climber: Climber) -> Tensor:
    """Losses of the first iterations, for the gate."""
    rows = [climber.step(i) for i in range(GATE_ITERATIONS)]
    names = sorted(name for name in rows[0] if name.startswith("loss/"))
    return torch.stack([torch.stack([row[name].float() for name in names]) for row in rows]).cpu()


def gate(climber: Climber, reference: Tensor) -> None:
    """Assert that a rung computes what the first one does: to rounding, of 16 bits where it has those.

    After the first iteration rounding comes back amplified, as Adam's first steps follow the sign of any gradient. On a
    GPU, PyTorch's float32 convolutions round their inputs to TF32's 11 bits.
    """
    sixteen = climber.rung.autocast or climber.rung.training["precision"] == "bf16"
    exact = {"rtol": 5e-3, "atol": 5e-4} if climber.device.type == "cuda" else {"rtol": 1e-3, "atol": 1e-4}
    at_first = {"rtol": 0.1, "atol": 0.05} if sixteen else exact
    afterwards = at_first if sixteen else {"rtol": 0.02, "atol": 2e-3}
    found = losses(climber)
    for rows, tolerance in ((slice(0, 1), at_first), (slice(1, None), afterwards)):
        torch.testing.assert_close(found[rows], reference[rows], **tolerance, msg=lambda m: f"{climber.rung.name}: {m}")


def seconds_per_iteration(climber: Climber, repeats: int) -> list[float]:
    """Times of single iterations, in the steady state."""
    # enough to fill the table of f_c, and to capture iterations that look everything up
    for i in range(4 * INPUT_SETS):
        climber.step(i)
    times = []
    for i in range(repeats):
        synchronise(climber.device)
        begin = time.perf_counter()
        climber.step(i)
        synchronise(climber.device)
        times.append(time.perf_counter() - begin)
    return times


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, what a device can do at most in this type.

    Float32 products may be TF32 where PyTorch's convolutions may.
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    previous = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        for _ in range(10):
            synchronise(device)
            begin = time.perf_counter()
            a @ b
            synchronise(device)
            times.append(time.perf_counter() - begin)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = previous
    return 2 * size**3 / statistics.median(times)


@dataclass(frozen=True)
class Ground:
    """What all rungs are held against.

    Attributes:
        losses: The first rung's.
        flops: Of an iteration with shared forward passes.
        peaks: Operations per second of a large matrix product, by type.
    """

    losses: Tensor
    flops: int
    peaks: dict[torch.dtype, float]

    @classmethod
    def of(cls, config: Config, device: torch.device, first: Rung) -> Ground:
        """Measure it."""
        types = (torch.float32, torch.bfloat16) if computes_bfloat16(device) else (torch.float32,)
        with counter_of_flops() as counter:
            Climber(Rung("shared forward passes", "", shared_training(device)), config, device).step(0)
        peaks = {dtype: peak_flops(device, dtype) for dtype in types}
        return cls(losses(Climber(first, config, device)), counter.get_total_flops(), peaks)


def measure_rung(rung: Rung, config: Config, device: torch.device, ground: Ground, repeats: int) -> dict[str, Any]:
    """One rung's figures; one that computes something else than the first ends the run."""
    climber = Climber(rung, config, device)
    gate(climber, ground.losses)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = seconds_per_iteration(climber, repeats)
    median = statistics.median(times)
    sixteen = rung.autocast or rung.training["precision"] == "bf16"
    return {
        "rung": rung.name,
        "switch": rung.switch,
        "img_per_s": config.training.batch_size / median,
        "median_ms": 1e3 * median,
        "min_ms": 1e3 * min(times),
        "max_ms": 1e3 * max(times),
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
        "sixteen_bits": sixteen,
        "utilisation": ground.flops / median / ground.peaks[torch.bfloat16 if sixteen else torch.float32],
    }


def for_record(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add each rung's ratio to the first, and leave out what a machine does not have."""
    first = rows[0]["img_per_s"] if rows else None
    found = [{**row, "ratio": row["img_per_s"] / first} for row in rows]
    return [{name: rounded(value) for name, value in row.items() if value is not None} for row in found]


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a table of what `for_record` gave."""
    lines = [f"{'':<48}{'img/s':>9}{'ms':>9}{'ratio':>7}{'utilisation':>13}{'peak GiB':>10}"]
    for row in rows:
        memory = f"{row['peak_gib']:.2f}" if "peak_gib" in row else ""
        figures = f"{row['img_per_s']:>9.1f}{row['median_ms']:>9.1f}{row['ratio']:>7.2f}{row['utilisation']:>13.3f}"
        lines.append(f"{row['rung']:<48}{figures}{memory:>10}")
    return lines


def measure_ladder(config: Config, device: torch.device, with_compile: bool, repeats: int) -> list[dict[str, Any]]:
    """Every rung's figures, as a record has them."""
    chosen = rungs(device, with_compile)
    ground = Ground.of(config, device, chosen[0])
    return for_record([measure_rung(rung, config, device, ground, repeats) for rung in chosen])


@contextmanager
def _timed(owner: object, name: str, total: dict[str, float], key: str, device: torch.device) -> Iterator[None]:
    """Add the time of every call of a method to ``total``."""
    method: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        synchronise(device)
        begin = time.perf_counter()
        result = method(*arguments, **options)
        synchronise(device)
        total[key] = total.get(key, 0.0) + time.perf_counter() - begin
        return result

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)


def measure_breakdown(config: Config, device: torch.device, iterations: int) -> dict[str, float]:
    """Milliseconds of one shared iteration by part, reading generated pictures through the configured loader.

    Each part waits for the device, so that the sum is more than an undisturbed iteration; ``optimisers`` are also
    within the updates of D, φ/σ and G.
    """
    total: dict[str, float] = {}
    # a replayed iteration has no parts that the host could time
    config = replace(config, training=replace(config.training, cuda_graph="off"))
    with TemporaryDirectory() as folder:
        paths = pictures_like_market(Path(folder), PICTURES_READ)
        loader = build_loader(
            paths,
            [i % CLASSES for i in range(PICTURES_READ)],
            config.data,
            batch_size=config.training.batch_size,
            seed=0,
            device=device,
        )
        torch.manual_seed(0)
        critic = build_osnet(config.critic.arch, CLASSES)
        process = Process(0, 1, device, None)
        task = IntactTask(config, critic, process, plan_step(config, process), loader.schedule.num_images)
        step = task.run_step
        assert isinstance(step, SharedStep)
        with closing(loader.iterate(Position(0, 0))) as batches:
            for i in range(2):
                step(next(batches), i, False)
            parts = [
                (step, "_update_discriminator", "D"),
                (step, "_update_association", "φ and σ"),
                (step, "_update_generator", "G update"),
                (step.generator, "forward", "G forward"),
                *((updater, "step", "optimisers") for updater in step.updaters.values()),
            ]
            contexts = [_timed(owner, name, total, key, device) for owner, name, key in parts]
            for context in contexts:
                context.__enter__()
            begin_all = time.perf_counter()
            for i in range(iterations):
                begin = time.perf_counter()
                batch = next(batches)
                total["data wait"] = total.get("data wait", 0.0) + time.perf_counter() - begin
                step(batch, 100_000 + i, False)
            synchronise(device)
            total["iteration"] = time.perf_counter() - begin_all
            for context in reversed(contexts):
                context.__exit__(None, None, None)
    return {name: 1e3 * seconds / iterations for name, seconds in total.items()}


def measure(preset: str, with_compile: bool, repeats: int) -> dict[str, Any]:
    """Measure and print both tables; returns what belongs into a record."""
    device, config = device_of(), PRESETS[preset]
    rows = measure_ladder(config, device, with_compile, repeats)
    for line in table_of(rows):
        print(line)
    parts = measure_breakdown(config, device, max(4, repeats // 2))
    print(
        "one iteration as the preset has it, launched by Python, ms: "
        + ", ".join(f"{k} {v:.1f}" for k, v in parts.items())
    )
    return {
        "preset": preset,
        "batch_size": config.training.batch_size,
        "threads": torch.get_num_threads(),
        "ladder": rows,
        "breakdown_ms": rounded(parts),
    }


def headline(figures: Mapping[str, Any]) -> str:
    """Say the fastest rung of what `measure` gave."""
    best = max(figures["ladder"], key=lambda row: row["img_per_s"])
    return (
        f"Preset {figures['preset']} trains {best['img_per_s']:.4g} pictures per second at best, "
        f"{best['ratio']:.2f} times the plain step."
    )


def main() -> None:
    """Measure and write a record."""
    parser = argparse.ArgumentParser(description="What each switch of the training step is worth.")
    parser.add_argument("preset", nargs="?", choices=PRESETS, default="cpu")
    parser.add_argument("--with-compile", action="store_true", help="also compiled, which takes minutes on a CPU")
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    figures = measure(options.preset, options.with_compile, options.repeats)
    device = device_of()
    flag = " --with-compile" if options.with_compile else ""
    record = {
        "kind": "speed",
        "headline": headline(figures),
        "machine": machine_of(device),
        "versions": versions("torch", "triton", "nvidia-dali-cuda130", "numpy"),
        "commands": {"ladder": f"python -m benchmarks.ladder {options.preset}{flag}"},
        **figures,
    }
    print(f"record: {write_record(record, name_of_machine(device) + '-ladder')}")


if __name__ == "__main__":
    main()
