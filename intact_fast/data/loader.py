"""The training loader: one order and one meaning, two backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from intact_fast.config.options import DataConfig
from intact_fast.data.batches import Batch, PictureSpec
from intact_fast.data.degradation import read_image
from intact_fast.data.pillow_loader import pillow_batches
from intact_fast.data.plan import BatchPlan, Position, Schedule
from intact_fast.errors import UserError, tell


@dataclass(frozen=True)
class TrainLoader:
    """Training batches of one process.

    Attributes:
        backend: ``dali`` or ``pillow``.
        schedule: Its order.
        read: Turns plans into batches.
    """

    backend: str
    schedule: Schedule
    read: Callable[[Iterator[BatchPlan]], Iterator[Batch]]

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the same for every process."""
        return self.schedule.steps_per_epoch

    def iterate(self, start: Position) -> Generator[Batch, None, None]:
        """Yield batches from a position on, epoch after epoch without end.

        ``iterate(batch.next_position)`` goes on bit for bit as the iterator that gave ``batch``. Closing the
        iterator ends its workers and threads.

        Raises:
            UserError: A picture is unreadable.
        """
        yield from self.read(self.schedule.plans(start))


def build_loader(
    paths: Sequence[Path],
    labels: Sequence[int],
    config: DataConfig,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    seed: int,
    device: torch.device,
    with_lr: bool = True,
    pad: int | None = None,
) -> TrainLoader:
    """Make the loader of a training set.

    Args:
        paths: Picture files.
        labels: Class of each picture.
        config: Size, degradation, augmentation and backend.
        batch_size: Pictures per process and iteration.
        rank: This process.
        world_size: Processes.
        seed: Of order and augmentation.
        device: Where the batches go.
        with_lr: Whether to degrade pictures; without it ``Batch.x_l`` is None.
        pad: Padding in pixels instead of the configuration's.

    Raises:
        UserError: Options that do not fit each other, this machine or the number of pictures.
    """
    assert len(paths) == len(labels)
    pad = config.pad if pad is None else pad
    backend = _choose_backend(config, with_lr)
    gpu_decode = backend == "dali" and _choose_gpu_decode(config, device)
    blind = config.degradation == "blind"
    continuous = blind or config.rates == "continuous"
    corrupted = 1 - config.clean_share if blind and with_lr else 0.0
    schedule = Schedule(
        len(paths), batch_size, rank, world_size, seed, config.factors, config.flip, pad, continuous, corrupted
    )
    spec = PictureSpec((config.height, config.width), config.interpolation, config.jpeg_quality, pad, with_lr)
    if config.cache_mib > 0 and (blind or backend != "dali"):
        remedy = ", and --data.degradation blind needs Pillow; leave it out" if blind else ""
        raise UserError(f"--data.cache-mib {config.cache_mib}: only --data.backend dali keeps decoded pictures{remedy}")
    if backend == "pillow":
        read = partial(
            pillow_batches,
            paths=paths,
            labels=labels,
            spec=spec,
            device=device,
            workers=config.threads,
            prefetch=config.prefetch,
        )
        return TrainLoader(backend, schedule, read)
    from intact_fast.data.dali_loader import dali_batches

    read = partial(
        dali_batches,
        paths=paths,
        labels=labels,
        spec=spec,
        device=device,
        batch_size=batch_size,
        gpu_decode=gpu_decode,
        threads=config.threads,
        prefetch=config.prefetch,
        cache_mib=config.cache_mib,
    )
    return TrainLoader(backend, schedule, read)


def readable_images(paths: Sequence[Path], threads: int) -> list[bool]:
    """Decode every picture once, in a thread pool, and tell which can be."""

    def is_readable(path: Path) -> bool:
        try:
            read_image(path)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(is_readable, paths))


def _choose_backend(config: DataConfig, with_lr: bool) -> str:
    if config.backend == "pillow":
        return "pillow"
    if config.degradation == "blind":
        if config.backend == "dali":
            raise UserError("--data.degradation blind: Pillow alone reads such pictures; use --data.backend pillow")
        if with_lr:
            tell("--data.degradation blind: Pillow reads the training pictures, DALI cannot corrupt them")
            return "pillow"
    if config.interpolation == "area":
        if config.backend == "auto":
            return "pillow"
        raise UserError("--data.interpolation area: DALI has no such filter; add --data.backend pillow")
    try:
        importlib.import_module("nvidia.dali")
    except ImportError as error:
        if config.backend == "auto":
            return "pillow"
        raise UserError(
            "--data.backend dali: NVIDIA DALI is not installed; run pip install nvidia-dali-cuda130 "
            "(nvidia-dali-cuda120 for CUDA 12) or use --data.backend pillow"
        ) from error
    return "dali"


def _choose_gpu_decode(config: DataConfig, device: torch.device) -> bool:
    if config.decode == "gpu" and device.type != "cuda":
        raise UserError(
            f"--data.decode gpu: training runs on the {device.type}; use --data.decode cpu or --device cuda"
        )
    return config.decode != "cpu" and device.type == "cuda"
