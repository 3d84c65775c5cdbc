"""What DALI's training pipeline is fed with: names of files that it decodes, pixels of all others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intact_fast.data.batches import PictureSpec
from intact_fast.data.dali_decoding import file_name
from intact_fast.data.pillow_loader import read_training_image
from intact_fast.data.plain_files import is_plain_file
from intact_fast.data.plan import BatchPlan

_NOTHING = np.zeros((1, 1, 3), dtype=np.uint8)
_AHEAD = 1


class PlanSource:
    """Feeds plans to a pipeline and remembers those whose batch has not come out yet.

    Files that DALI cannot be trusted with are decoded by Pillow, a batch ahead. Whether one is such a file is looked
    at where it is first drawn.

    Attributes:
        inputs: Names of what it feeds.
        pending: Plans whose batch has not come out, oldest first.

    Args:
        plans: What to read.
        paths: Picture files.
        spec: How to prepare them.
        decoded: Pictures in memory, by row.
        threads: Threads that look at files and decode with Pillow.
    """

    def __init__(
        self,
        plans: Iterator[BatchPlan],
        paths: Sequence[Path],
        spec: PictureSpec,
        decoded: Mapping[int, NDArray[np.uint8]],
        threads: int,
    ) -> None:
        self._plans = plans
        self._paths = paths
        self._decoded = decoded
        self._pool = ThreadPoolExecutor(max(1, threads))
        self._plain: dict[int, bool] = {}
        self._ahead: deque[tuple[BatchPlan, dict[int, Future[NDArray[np.uint8] | None]]]] = deque()
        self.inputs = [
            *("name", "is_decoded", "decoded", "flip"),
            *(["r"] if spec.with_lr else []),
            *(["shift"] if spec.pad > 0 else []),
        ]
        self.pending: deque[BatchPlan] = deque()

    def __call__(self) -> tuple[Any, ...]:
        """Give the next batch's inputs.

        Raises:
            UserError: One of its pictures, which Pillow decodes, is unreadable.
        """
        while len(self._ahead) <= _AHEAD:
            plan = next(self._plans)
            self._ahead.append((plan, self._begin(plan)))
        plan, futures = self._ahead.popleft()
        self.pending.append(plan)
        pixels = {row: picture for row, future in futures.items() if (picture := future.result()) is not None}
        known = [pixels.get(row, self._decoded.get(row)) for row in plan.index.tolist()]
        values = {
            "name": [file_name(self._paths[row]) for row in plan.index],
            "is_decoded": np.array([picture is not None for picture in known]),
            "decoded": [_NOTHING if picture is None else picture for picture in known],
            "flip": plan.flip.astype(np.int32),
            "r": plan.r.astype(np.float32),
            "shift": plan.shift.astype(np.int32),
        }
        return tuple(values[name] for name in self.inputs)

    def _begin(self, plan: BatchPlan) -> dict[int, Future[NDArray[np.uint8] | None]]:
        rows = {row for row in plan.index.tolist() if row not in self._decoded and not self._plain.get(row, False)}
        return {row: self._pool.submit(self._pixels, row) for row in rows}

    def _pixels(self, row: int) -> NDArray[np.uint8] | None:
        """Decode a picture with Pillow; None leaves it to DALI."""
        if row not in self._plain:
            self._plain[row] = is_plain_file(self._paths[row])
        return None if self._plain[row] else np.array(read_training_image(self._paths[row]))

    def keep_from_dali(self) -> bool:
        """After an error of DALI's, let Pillow decode the pictures of the remembered plans, and feed them again.

        Returns:
            Whether anything will be different.

        Raises:
            UserError: One of them is unreadable.
        """
        rows = [row for plan in self.pending for row in plan.index.tolist()]
        for row in rows:
            read_training_image(self._paths[row])
        different = any(self._plain.get(row, False) for row in rows)
        self._plain.update(dict.fromkeys(rows, False))
        again = [*self.pending, *(plan for plan, _ in self._ahead)]
        self._ahead = deque((plan, self._begin(plan)) for plan in again)
        self.pending.clear()
        return different

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(cancel_futures=True)
