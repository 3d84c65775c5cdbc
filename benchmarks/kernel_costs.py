"""The costs of the Triton kernels, found without a GPU: ``python -m benchmarks.kernel_costs [--record]``.

One table has registers, spilled bytes and shared memory of every kernel in every tile configuration. It covers sm_80,
sm_90 and sm_100. The other has the bytes that each operator moves for an element of its input, beside the least that
any implementation could. The exit status is 1 where a kernel spills registers. ``--record`` also writes a record.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from benchmarks.ahead_of_time import (
    CAPABILITIES,
    Resources,
    compile_launch,
    describe,
    distinct_launches,
    name_of,
)
from benchmarks.record import machine_of, rounded, versions, write_record
from intact_fast.kernels import batch_norm_launch, depthwise_kernels, pixel_shuffle_kernels
from intact_fast.kernels.launch import Launch, recording


def _compile(number: int, capability: int) -> Resources:
    # the list is made anew in each process: kernels do not travel between processes
    return compile_launch(distinct_launches()[number], capability)


def resource_rows() -> list[tuple[Launch, dict[int, Resources]]]:
    """Every kernel and configuration with its resources by architecture, compiled on all processors."""
    launches = distinct_launches()
    jobs = list(product(range(len(launches)), CAPABILITIES))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        compiled = dict(zip(jobs, pool.map(_compile, *zip(*jobs, strict=True), chunksize=8), strict=True))
    return [(launch, {cap: compiled[i, cap] for cap in CAPABILITIES}) for i, launch in enumerate(launches)]


def _bytes(tensors: list[Tensor | None]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def moved_by(launches: Sequence[Launch]) -> int:
    """Bytes that launches read and write: every tensor that a kernel is given, once."""
    return sum(_bytes([v for v in row.arguments.values() if isinstance(v, Tensor)]) for row in launches)


def _cost(call: Callable[[], Any], inputs: list[Tensor | None], elements: int) -> tuple[float, float, int]:
    """Bytes per element that the launches read and write, the least possible, and the number of Triton kernels."""
    with recording() as launches:
        outputs = call()
    results = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return moved_by(launches) / elements, (_bytes(inputs) + _bytes(results)) / elements, len(launches)


def traffic_rows() -> list[tuple[str, float, float, int]]:
    """Operator and pass at the paper's batch of 32, bfloat16 pictures of 64 channels at 256×128."""

    def pictures(channels: int, scale: int = 1) -> Tensor:
        shape = (32, channels, 256 // scale, 128 // scale)
        tensor = torch.empty(shape, dtype=torch.bfloat16, device="meta")
        return tensor.contiguous(memory_format=torch.channels_last)

    def vector(size: int) -> Tensor:
        return torch.empty(size, device="meta")

    narrow, wide, bias = pictures(256, 2), pictures(64), vector(256)
    x, channel = pictures(64), vector(64)
    vectors = (channel, channel, channel, channel)
    rows = []
    for skip in (None, wide):
        name = "pixel_shuffle_act" + ("" if skip is None else " + skip")
        saved = wide if skip is None else narrow
        forward = _cost(
            partial(pixel_shuffle_kernels.forward_triton, narrow, bias, None, skip, "relu", 0.0),
            [narrow, bias, skip],
            narrow.numel(),
        )
        backward = _cost(
            partial(pixel_shuffle_kernels.backward_triton, wide, saved, skip is None, bias, None, "relu", 0.0, True),
            [wide, saved],
            narrow.numel(),
        )
        rows += [(f"{name}, forward", *forward), (f"{name}, backward", *backward)]
    for residual, training in product((None, x), (True, False)):
        name = "batch_norm_act" + (" + residual" if residual is not None else "") + ("" if training else ", eval")
        forward = _cost(
            partial(batch_norm_launch.forward_triton, x, residual, *vectors, training, 1e-5, "relu", 0.0),
            [x, residual],
            x.numel(),
        )
        backward = _cost(
            partial(
                batch_norm_launch.backward_triton,
                *(x, x, residual, *vectors),
                *(training, 1e-5, "relu", 0.0, training, residual is not None),
            ),
            [x, x, residual],
            x.numel(),
        )
        rows += [(f"{name}, forward", *forward), (f"{name}, backward", *backward)]
    filters = torch.empty(64, 1, 3, 3, device="meta")
    for kept in (x, None):
        name = "depthwise_norm_act" + ("" if kept is not None else ", frozen")
        call = partial(depthwise_kernels.forward_triton, x, filters, *vectors, 1e-5, "relu", 0.0)
        forward = _cost(call, [x], x.numel())
        call = partial(depthwise_kernels.backward_triton, *(x, kept, x, filters, *vectors[1:]), *(1e-5, "relu", 0.0))
        backward = _cost(call, [x, kept, x], x.numel())
        rows += [(f"{name}, forward", *forward), (f"{name}, backward", *backward)]
    return rows


Rows = Sequence[tuple[Launch, dict[int, Resources]]]


def record_of(rows: Rows, traffic: Sequence[tuple[str, float, float, int]]) -> dict[str, Any]:
    """Give a record: the traffic, and of each kernel the most of every resource over its configurations."""
    kernels: dict[str, dict[str, Any]] = {}
    for launch, resources in rows:
        kernel = kernels.setdefault(name_of(launch), {"configurations": 0})
        kernel["configurations"] += 1
        for capability, found in resources.items():
            most = kernel.setdefault(f"sm_{capability}", {"registers": 0, "shared_bytes": 0, "spilled_bytes": 0})
            for name, value in (
                ("registers", found.registers),
                ("shared_bytes", found.shared),
                ("spilled_bytes", found.spilled),
            ):
                most[name] = max(most[name], value)
    spilling = sum(any(r.spilled for r in resources.values()) for _, resources in rows)
    moved: dict[str, dict[str, Any]] = {}
    for name, bytes_moved, least, launches in traffic:
        operator, _, direction = name.rpartition(", ")
        moved.setdefault(operator, {})[direction] = {"moved": bytes_moved, "least": least, "kernels": launches}
    return {
        "kind": "speed",
        "headline": f"{spilling} of {len(rows)} kernels and configurations spill registers.",
        "machine": machine_of(torch.device("cpu")),
        "versions": versions("torch", "triton"),
        "commands": {"kernel costs": "python -m benchmarks.kernel_costs --record"},
        "notes": ["Found by compiling ahead of time, without a GPU.", "Bytes are of one element of the input."],
        "traffic": rounded(moved),
        "spilling": spilling,
        "kernels": kernels,
    }


def main() -> int:
    """Print both tables, and write a record where that is asked for."""
    parser = argparse.ArgumentParser(description="What the Triton kernels need and move.")
    parser.add_argument("--record", action="store_true", help="also write a record")
    options = parser.parse_args()
    traffic = traffic_rows()
    print("bytes per element of the input (bf16, 64 channels at 256x128, batch 32)")
    print(f"{'operator':<48}{'moved':>8}{'least':>8}{'kernels':>10}")
    for name, moved, least, launches in traffic:
        print(f"{name:<48}{moved:>8.2f}{least:>8.2f}{launches:>10}")
    rows = resource_rows()
    capabilities = ", ".join(f"sm_{capability}" for capability in CAPABILITIES)
    print(f"\n{len(rows)} kernels and configurations; registers, spilled bytes, shared bytes on {capabilities}")
    for launch, resources in rows:
        cells = "".join(f"{r.registers:>6}{r.spilled:>5}{r.shared:>7} |" for r in resources.values())
        print(f"{name_of(launch):<46}{cells} {describe(launch)}")
    spilling = [launch for launch, resources in rows if any(r.spilled for r in resources.values())]
    print(f"\n{len(spilling)} of them spill registers")
    for launch in spilling:
        print(name_of(launch), describe(launch))
    if options.record:
        print(f"record: {write_record(record_of(rows, traffic), 'kernel-costs')}")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
