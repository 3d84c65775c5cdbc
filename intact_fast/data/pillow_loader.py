"""Training pictures through Pillow in worker processes."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from intact_fast.data.batches import Batch, PictureSpec, assemble
from intact_fast.data.degradation import downsample, normalise, read_image, resize
from intact_fast.data.plan import BatchPlan
from intact_fast.errors import UserError


def read_training_image(path: Path) -> Image.Image:
    """Read as `read_image` does; the error also names the option that leaves such pictures out."""
    try:
        return read_image(path)
    except UserError as error:
        raise UserError(f"{error} or leave such training pictures out with --data.skip-corrupt") from error


class PlannedBatches(Dataset[dict[str, Any]]):
    """Whole batches, indexed by their plan."""

    def __init__(self, paths: Sequence[Path], spec: PictureSpec) -> None:
        self.paths = paths
        self.spec = spec

    def __getitem__(self, plan: BatchPlan) -> dict[str, Any]:
        """Prepare a batch.

        Returns:
            ``plan``, ``hr`` (B×H×W×3 uint8) and ``lr`` (the same, or None). Or ``error``, a UserError: raised in a
            worker, it would arrive wrapped in a traceback.
        """
        shape = (len(plan.index), *self.spec.size, 3)
        hr = np.empty(shape, dtype=np.uint8)
        lr = np.empty(shape, dtype=np.uint8) if self.spec.with_lr else None
        try:
            for i, (index, r) in enumerate(zip(plan.index, plan.r, strict=True)):
                native = read_training_image(self.paths[index])
                hr[i] = self._augmented(native, plan, i)
                if lr is not None:
                    small = downsample(native, int(r), self.spec.interpolation, self.spec.jpeg_quality)
                    lr[i] = self._augmented(small, plan, i)
        except UserError as error:
            return {"error": error}
        return {
            "plan": plan,
            "hr": torch.from_numpy(hr),
            "lr": None if lr is None else torch.from_numpy(lr),
        }

    def _augmented(self, image: Image.Image, plan: BatchPlan, i: int) -> NDArray[np.uint8]:
        """Resize to the input size, crop from a black frame, mirror: H×W×3 uint8."""
        (height, width), pad = self.spec.size, self.spec.pad
        pixels = np.asarray(resize(image, self.spec.size, self.spec.interpolation))
        if pad > 0:
            top, left = plan.shift[i]
            framed = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)))
            pixels = framed[top : top + height, left : left + width]
        return pixels[:, ::-1] if plan.flip[i] else pixels


def _start_worker(worker: int) -> None:
    """Keep a worker alive when the whole process group is told to stop: the trainer ends it after saving.

    What the trainer owned when it forked is never finalised here: a DALI pipeline's destructor, say, would wait
    for threads that only the trainer has.
    """
    gc.freeze()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def pillow_batches(
    plans: Iterator[BatchPlan],
    paths: Sequence[Path],
    labels: Sequence[int],
    spec: PictureSpec,
    device: torch.device,
    workers: int,
    prefetch: int,
) -> Iterator[Batch]:
    """Yield the batches of ``plans`` in order.

    Args:
        plans: What to read.
        paths: Picture files.
        labels: Their classes.
        spec: How to prepare them.
        device: Where the batches go.
        workers: Worker processes; 0 reads in this one.
        prefetch: Batches prepared ahead by all workers together, at least one each.

    Raises:
        UserError: A picture is unreadable.
    """
    # Workers fork: they share the picture list without copying it and start without importing anything.
    # They run only Pillow and numpy, never torch's thread pools, gloo or CUDA, whose state a fork breaks.
    parallel: dict[str, Any] = {}
    if workers > 0:
        parallel = {
            "multiprocessing_context": "fork",
            "prefetch_factor": max(1, -(-prefetch // workers)),
            "worker_init_fn": _start_worker,
        }
    loader = DataLoader(
        PlannedBatches(paths, spec),
        batch_size=None,
        sampler=plans,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        # a DataLoader would draw its workers' seeds from the global generator, which a resumed run must find
        # as an unbroken one leaves it
        generator=torch.Generator(),
        **parallel,
    )
    if workers > 0:
        gc.collect()  # nothing is left for a worker to finalise before it has started
    for item in loader:
        if "error" in item:
            raise item["error"]
        x_h = normalise(item["hr"].to(device, non_blocking=True))
        x_l = None if item["lr"] is None else normalise(item["lr"].to(device, non_blocking=True))
        yield assemble(x_h, x_l, item["plan"], labels, device)
