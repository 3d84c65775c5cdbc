"""Pictures, loaders and comparisons that the tests of loading share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intact_fast.config.options import DataConfig
from intact_fast.data.batches import Batch
from intact_fast.data.loader import TrainLoader, build_loader
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.data.plan import Position

HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="needs NVIDIA DALI")
backends = pytest.mark.parametrize("backend", ["pillow", pytest.param("dali", marks=needs_dali)])

CPU = torch.device("cpu")
START = Position(0, 0)
CONFIG = DataConfig(height=64, width=32, threads=0, backend="pillow")
SIZES = [(128, 64), (128, 48), (129, 65), (61, 31), (97, 140), (201, 83), (64, 32), (40, 20)]


def write_pictures(folder: Path, sizes: Sequence[tuple[int, int]], suffix: str = "jpg") -> list[Path]:
    """Smooth pictures with some noise, of (height, width)."""
    rng = np.random.default_rng(5)
    paths = []
    for i, (height, width) in enumerate(sizes):
        coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + rng.normal(0, 4, (height, width, 3))
        paths.append(folder / f"{i:03d}.{suffix}")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def loader_of(
    paths: Sequence[Path], config: DataConfig, batch_size: int = 4, device: torch.device = CPU, **options: Any
) -> TrainLoader:
    labels = [3 * i for i in range(len(paths))]
    return build_loader(paths, labels, config, batch_size=batch_size, seed=7, device=device, **options)


def take(loader: TrainLoader, count: int, start: Position = START) -> list[Batch]:
    with closing(loader.iterate(start)) as batches:
        return list(islice(batches, count))


def levels(normalised: Tensor) -> Tensor:
    """Undo the normalisation: 8-bit levels as floating point."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (normalised.cpu() * std + mean) * 255


def assert_close(a: Tensor, b: Tensor) -> None:
    """The tolerance between backends: 0.5 levels on average, 12 at most."""
    difference = (levels(a) - levels(b)).abs()
    assert difference.mean() <= 0.5
    assert difference.max() <= 12


def assert_same_numbers(a: Batch, b: Batch) -> None:
    for name in ("label", "r", "index"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.next_position == b.next_position


def assert_identical(a: Batch, b: Batch) -> None:
    assert_same_numbers(a, b)
    assert torch.equal(a.x_h, b.x_h)
    assert (a.x_l is None) == (b.x_l is None)
    if a.x_l is not None and b.x_l is not None:
        assert torch.equal(a.x_l, b.x_l)
