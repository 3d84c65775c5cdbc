"""The φ/σ step (both losses, backward, Adam) with and without fused operators: time and launches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.setup import captured, synchronise
from intact_fast.config.options import AssociationConfig
from intact_fast.kernels import Kernels
from intact_fast.models import select_kernels
from intact_fast.training.step.association import build_association

BATCH, F_C, F_D = 32, 512, 1024
ITERATIONS, WARMUP = 200, 20


def make_step(device: torch.device, kernels: Kernels, compiled: bool = False) -> Callable[[], None]:
    """One step of φ and σ on tensors of the paper's sizes."""
    torch.manual_seed(0)
    association = build_association(AssociationConfig(), 1.0, F_C, {"head": F_D, "pool": 512, "conv5": 256}).to(device)
    select_kernels(association, kernels)
    fused = torch.optim.Adam(association.parameters(), lr=1e-3, fused=True, capturable=device.type == "cuda")
    f_c, f_d = torch.randn(BATCH, F_C, device=device), torch.randn(BATCH, F_D, device=device)
    losses: Callable[..., Any] = torch.compile(association, fullgraph=True) if compiled else association

    def step() -> None:
        fused.zero_grad(set_to_none=True)
        losses(f_c, f_d).total.backward()
        fused.step()

    return step


def _median_seconds(step: Callable[[], object], device: torch.device, iterations: int) -> float:
    times = []
    for _ in range(iterations):
        synchronise(device)
        begin = time.perf_counter()
        step()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _launches(step: Callable[[], object]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return sum(
        1
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith("Mem")
    )


def measure_association_step(device: torch.device, iterations: int = ITERATIONS) -> dict[str, dict[str, Any]]:
    """Microseconds per step of eager PyTorch, Inductor and the fused operators; launches, and graphs on a GPU."""
    forms: dict[str, tuple[Kernels, bool]] = {"eager": ("torch", False), "fused": ("triton", False)}
    if device.type == "cuda":
        torch._dynamo.reset()
        forms["inductor"] = ("torch", True)
    found = {}
    for name, (kernels, compiled) in forms.items():
        step = make_step(device, kernels, compiled)
        for _ in range(WARMUP):
            step()
        figures: dict[str, Any] = {"us": 1e6 * _median_seconds(step, device, iterations)}
        if device.type == "cuda":
            figures["graph_us"] = 1e6 * _median_seconds(captured([step]).replay, device, iterations)
        found[name] = figures
    if device.type == "cuda":
        # last, so that the profiler has no part in any time
        for name, (kernels, compiled) in forms.items():
            step = make_step(device, kernels, compiled)
            step()
            found[name]["launches"] = _launches(step)
    return found
