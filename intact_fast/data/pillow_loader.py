"""Training pictures through Pillow in worker processes, or in threads where the machine has no room for those."""

from __future__ import annotations

import gc
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, get_worker_info

from intact_fast.data.batches import Batch, PictureSpec, assemble
from intact_fast.data.blind import corrupt, draw_corruption
from intact_fast.data.degradation import downsample, normalise, read_image, resize
from intact_fast.data.plan import BatchPlan
from intact_fast.data.shared_memory import fit_workers
from intact_fast.errors import UserError, warn
from intact_fast.tallies import add_tallies, take_tallies


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
            ``plan``, ``hr`` (B×H×W×3 uint8), ``lr`` (the same, or None) and a worker's ``tallies``. Or ``error``, a
            UserError or OSError: raised in a worker, it would arrive wrapped in a traceback.
        """
        shape = (len(plan.index), *self.spec.size, 3)
        hr = np.empty(shape, dtype=np.uint8)
        lr = np.empty(shape, dtype=np.uint8) if self.spec.with_lr else None
        try:
            for i, index in enumerate(plan.index):
                native = read_training_image(self.paths[index])
                hr[i] = self._augmented(native, plan, i)
                if lr is not None:
                    lr[i] = self._augmented(self._degraded(native, plan, i), plan, i)
        except (UserError, OSError) as error:
            return {"error": error}
        return {
            "plan": plan,
            "hr": torch.from_numpy(hr),
            "lr": None if lr is None else torch.from_numpy(lr),
            "tallies": {} if get_worker_info() is None else take_tallies(),
        }

    def size_of(self, plan: BatchPlan) -> int:
        """Bytes of a batch."""
        height, width = self.spec.size
        return len(plan.index) * height * width * 3 * (2 if self.spec.with_lr else 1)

    def _degraded(self, native: Image.Image, plan: BatchPlan, i: int) -> Image.Image:
        """Make the small LR picture."""
        r = plan.r[i].item()
        if plan.corruption is not None and plan.corruption[i] >= 0:
            return corrupt(native, draw_corruption(np.random.default_rng(plan.corruption[i]), r))
        return downsample(native, r, self.spec.interpolation, self.spec.jpeg_quality)

    def _augmented(self, image: Image.Image, plan: BatchPlan, i: int) -> NDArray[np.uint8]:
        """Resize to the input size, crop from a black frame, mirror: H×W×3 uint8."""
        (height, width), pad = self.spec.size, self.spec.pad
        pixels = np.asarray(resize(image, self.spec.size, self.spec.interpolation))
        if pad > 0:
            top, left = plan.shift[i]
            framed = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)))
            pixels = framed[top : top + height, left : left + width]
        return pixels[:, ::-1] if plan.flip[i] else pixels


_Items = Generator[dict[str, Any], None, None]


def _start_worker(worker: int) -> None:
    """Keep a worker alive when the whole process group is told to stop: the trainer ends it after saving.

    What the trainer owned when it forked is never finalised here: a DALI pipeline's destructor, say, would wait
    for threads that only the trainer has.
    """
    gc.freeze()
    take_tallies()
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
        UserError: A picture is unreadable, or the system has ended a worker.
    """
    batches = PlannedBatches(paths, spec)
    if workers == 0:
        items = (batches[plan] for plan in plans)
    else:
        first = next(plans)
        ahead = max(1, -(-prefetch // workers))
        fitting = fit_workers(workers, ahead, batches.size_of(first))
        if fitting.warning is not None:
            warn(f"--data.threads {workers}: {fitting.warning}")
        plans = chain([first], plans)
        if fitting.processes > 0:
            items = _read_in_processes(batches, plans, workers, fitting.prefetch, pin=device.type == "cuda")
        else:
            items = _read_in_threads(batches, plans, workers, ahead * workers)
    with closing(items):
        for item in items:
            if "error" in item:
                raise item["error"]
            add_tallies(item["tallies"])
            x_h = normalise(item["hr"].to(device, non_blocking=True))
            x_l = None if item["lr"] is None else normalise(item["lr"].to(device, non_blocking=True))
            yield assemble(x_h, x_l, item["plan"], labels, device)


def _read_in_processes(
    batches: PlannedBatches, plans: Iterator[BatchPlan], workers: int, ahead: int, pin: bool
) -> _Items:
    """Read with worker processes, each of them some batches ahead."""
    # Workers fork: they share the picture list without copying it and start without importing anything.
    # They run only Pillow and numpy, never torch's thread pools, gloo or CUDA, whose state a fork breaks.
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=plans,
        num_workers=workers,
        pin_memory=pin,
        # a DataLoader would draw its workers' seeds from the global generator, which a resumed run must find
        # as an unbroken one leaves it
        generator=torch.Generator(),
        multiprocessing_context="fork",
        prefetch_factor=ahead,
        worker_init_fn=_start_worker,
    )
    gc.collect()  # nothing is left for a worker to finalise before it has started
    try:
        yield from loader
    except RuntimeError as error:
        # DataLoader has no type for it
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"--data.threads {workers}: the system has ended a process that reads pictures "
            f"({str(error).split('. ')[0].rstrip('.')}); memory or /dev/shm is short: use fewer threads or smaller "
            "batches, or --data.threads 0"
        ) from error


def _read_in_threads(batches: PlannedBatches, plans: Iterator[BatchPlan], threads: int, ahead: int) -> _Items:
    """Read with threads of this process, some batches ahead; they need no memory in common."""
    pending: deque[Future[dict[str, Any]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for plan in plans:
                pending.append(pool.submit(batches.__getitem__, plan))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
