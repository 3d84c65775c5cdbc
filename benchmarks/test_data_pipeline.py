"""Training pictures per second of the data path: DALI against a torch DataLoader over Pillow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.setup import pictures_like_market
from intact_fast.config.options import DataConfig
from intact_fast.data.batches import Batch
from intact_fast.data.loader import build_loader
from intact_fast.data.plan import Position

PICTURES, BATCH_SIZE, BATCHES_PER_ROUND = 256, 64, 4
THREADS = min(8, os.cpu_count() or 1)
HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="needs NVIDIA DALI")
sizes = pytest.mark.parametrize("size", [(128, 64), (256, 128)], ids=["128x64", "256x128"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where the pictures are."""
    return pictures_like_market(tmp_path_factory.mktemp("pictures"), PICTURES)


@pytest.fixture
def batches_of(pictures: list[Path]) -> Iterator[Callable[[DataConfig, torch.device], Iterator[Batch]]]:
    """Start endless batches that are closed after the test."""
    with ExitStack() as stack:

        def start(config: DataConfig, device: torch.device) -> Iterator[Batch]:
            loader = build_loader(pictures, [0] * PICTURES, config, batch_size=BATCH_SIZE, seed=0, device=device)
            return stack.enter_context(closing(loader.iterate(Position(0, 0))))

        yield start


def row_of(config: DataConfig) -> str:
    """Name the way of the pictures."""
    name = {"pillow": "torch DataLoader and Pillow", "dali": "DALI"}[config.backend]
    on_gpu = ", decoded on the GPU" if config.decode == "gpu" else ""
    return f"{name}{on_gpu}{', decoded pictures cached' if config.cache_mib else ''}"


def measure(benchmark: BenchmarkFixture, batches: Iterator[Batch], config: DataConfig, device: torch.device) -> None:
    """Time batches in the steady state, each round longer than what was prepared ahead."""

    def read() -> None:
        for _ in range(BATCHES_PER_ROUND):
            next(batches)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    benchmark.group = f"training pictures, {config.height}x{config.width}, to the {device.type}"
    benchmark.extra_info["row"] = row_of(config)
    benchmark.pedantic(read, rounds=5, warmup_rounds=2)
    if not benchmark.disabled:
        pictures = BATCHES_PER_ROUND * BATCH_SIZE
        benchmark.extra_info["img_per_s"] = pictures / benchmark.stats.stats.median
    benchmark.extra_info["batch_size"] = BATCH_SIZE
    benchmark.extra_info["threads"] = config.threads
    benchmark.extra_info["device"] = str(device)


@sizes
@pytest.mark.parametrize(
    ("backend", "cache_mib"),
    [("pillow", 0), pytest.param("dali", 0, marks=needs_dali), pytest.param("dali", 100, marks=needs_dali)],
)
def test_training_pictures_on_cpu(
    benchmark: BenchmarkFixture,
    batches_of: Callable[[DataConfig, torch.device], Iterator[Batch]],
    backend: str,
    cache_mib: int,
    size: tuple[int, int],
) -> None:
    config = DataConfig(height=size[0], width=size[1], backend=backend, threads=THREADS, cache_mib=cache_mib)
    device = torch.device("cpu")
    measure(benchmark, batches_of(config, device), config, device)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@sizes
@pytest.mark.parametrize(
    ("backend", "decode", "cache_mib"),
    [
        ("pillow", "cpu", 0),
        pytest.param("dali", "cpu", 0, marks=needs_dali),
        pytest.param("dali", "gpu", 0, marks=needs_dali),
        pytest.param("dali", "gpu", 100, marks=needs_dali),
    ],
)
def test_training_pictures_on_gpu(
    benchmark: BenchmarkFixture,
    batches_of: Callable[[DataConfig, torch.device], Iterator[Batch]],
    backend: str,
    decode: str,
    cache_mib: int,
    size: tuple[int, int],
) -> None:
    config = DataConfig(
        height=size[0],
        width=size[1],
        backend=backend,
        decode=decode,
        threads=THREADS,
        cache_mib=cache_mib,
    )
    device = torch.device("cuda", 0)
    measure(benchmark, batches_of(config, device), config, device)
