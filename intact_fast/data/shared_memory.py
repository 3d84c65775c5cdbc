"""How many batches worker processes may hand over: they lie in /dev/shm, of which a container has 64 MB by default."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from typing import NamedTuple

_PLACE = "/dev/shm"
_SPARE = 0.9
"""Share of the place that is counted on; locks and what others put there need some of it."""

_IN_USE = 2
"""Batches beside those that are read ahead: one that trains, one on its way."""

_REMEDY = "give it more (docker run --shm-size=1g)"


class Workers(NamedTuple):
    """How pictures are read.

    Attributes:
        processes: Worker processes; 0 where threads of this process must do.
        prefetch: Batches that each of them reads ahead.
        warning: What the user should know of it, None where all is as asked.
    """

    processes: int
    prefetch: int
    warning: str | None


def fit_workers(processes: int, prefetch: int, batch_bytes: int) -> Workers:
    """Fit worker processes into the shared memory that there is; too little would end them by a bus error.

    Args:
        processes: How many are asked for.
        prefetch: Batches that each should read ahead.
        batch_bytes: Size of a batch.
    """
    room = _room()
    instead = f"{processes} threads read instead of processes, which can be slower; {_REMEDY}"
    if not _has_locks():
        return Workers(0, prefetch, f"{_PLACE} cannot be used: {instead}")
    if room is None:
        return Workers(processes, prefetch, None)
    possible = (int(room / batch_bytes) - _IN_USE) // processes
    if possible >= prefetch:
        return Workers(processes, prefetch, None)
    wanted = batch_bytes * (processes * prefetch + _IN_USE)
    short = f"{_PLACE} has {_mib(room)} MiB for this process, its readers want {_mib(wanted)} MiB"
    if possible < 1:
        return Workers(0, prefetch, f"{short}: {instead}")
    return Workers(processes, possible, f"{short}: they read fewer batches ahead; {_REMEDY}")


def _room() -> float | None:
    """Bytes for this process, which its torchrun group on this machine shares; None where there is no such place."""
    if sys.platform != "linux":
        return None
    try:
        usage = shutil.disk_usage(_PLACE)
    except OSError:
        return 0
    # mounted without a limit
    if usage.total == 0:
        return None
    # what its neighbours hold already is theirs
    return _SPARE * min(usage.free, usage.total / max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _has_locks() -> bool:
    """Whether processes can have locks in common, which lie there, too."""
    try:
        multiprocessing.get_context("fork").Lock()
    except (OSError, ImportError):
        return False
    return True


def _mib(size: float) -> int:
    return round(size / 2**20)
