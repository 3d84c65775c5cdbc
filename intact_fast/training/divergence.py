"""Whether a training has diverged: nothing that is not a number may reach a checkpoint."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from intact_fast.training.distributed.process import Process
from intact_fast.training.step.iteration import Record

_STATISTICS = ("running_mean", "running_var", "mean", "variance")
"""Buffers that hold statistics of what a network saw; others may be NaN until they are first set."""

_PATIENCE = 3


class DivergenceWatch:
    """Looks for what is not a number, at records and before checkpoints: once each the host waits for the device.

    Args:
        module: All networks of the training.
        process: This process among its group, which look at the same iterations and get the same answer.
        skips_overflows: Steps whose gradients overflow are skipped (float16). Such a loss harms nothing by itself, so
            that it must come back in several records.
    """

    def __init__(self, module: nn.Module, process: Process, skips_overflows: bool) -> None:
        self._module = module
        self._process = process
        self._patience = _PATIENCE if skips_overflows else 1
        self._bad_records = 0

    def look(self, record: Record | None = None) -> str | None:
        """Say what is not a number, the same on every process; None where all is well.

        Args:
            record: Figures of the last iterations, on the device; None looks at the networks alone.
        """
        mine = self._own_finding(record)
        if not self._process.any(mine is not None):
            return None
        return next(finding for finding in self._process.gather(mine) if finding is not None)

    @torch.no_grad()
    def _own_finding(self, record: Record | None) -> str | None:
        values = self._values()
        losses = {name: value for name, value in (record or {}).items() if name.startswith("loss/")}
        largest = torch.stack(torch._foreach_norm(list(values.values()), math.inf)).max()
        found = torch.stack([largest.float(), *(value.float() for value in losses.values())]).tolist()
        if not math.isfinite(found[0]):
            return next(name for name, value in values.items() if not value.isfinite().all())
        if record is None:
            return None
        bad = [name for name, value in zip(losses, found[1:], strict=True) if not math.isfinite(value)]
        self._bad_records = self._bad_records + 1 if bad else 0
        return bad[0] if self._bad_records >= self._patience else None

    def _values(self) -> dict[str, Tensor]:
        """Parameters and statistics of the networks, by name."""
        buffers = {
            name: buffer
            for name, buffer in self._module.named_buffers()
            if name.rpartition(".")[2] in _STATISTICS and buffer.is_floating_point()
        }
        return dict(self._module.named_parameters()) | buffers
