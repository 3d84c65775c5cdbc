"""Whether a training has diverged, and where: nothing that is not a number may reach a checkpoint."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

from intact_fast.training.distributed.process import Process
from intact_fast.training.step.iteration import Record

_STATISTICS = ("running_mean", "running_var", "mean", "variance")
"""Buffers that hold statistics of what a network saw; others may be NaN until they are first set."""

_PATIENCE = 3

_STATISTIC = rf"\.({'|'.join(_STATISTICS)})$"
_ORDER = tuple(
    re.compile(pattern)
    for pattern in (
        rf"generator\..*{_STATISTIC}",
        r"loss/discriminator$",
        r"discriminator\.",
        rf"association\..*{_STATISTIC}",
        r"loss/(intact|dis_hr|e)$",
        r"association\.",
        rf".*{_STATISTIC}",
        r"loss/",
    )
)
"""The order in which an iteration computes: statistics in a forward pass, then losses, then weights in an update."""


class Finding(NamedTuple):
    """What is not a number; of several, the least is where it arose.

    Attributes:
        iteration: In which it was computed first, counted from 1.
        place: In that iteration; the least was computed first.
        name: Of a loss, a parameter or a statistic.
    """

    iteration: int
    place: int
    name: str


class DivergenceWatch:
    """Looks for what is not a number. The host waits for the device at records and before checkpoints alone.

    Args:
        module: All networks of the training.
        process: This process among its group, which look at the same iterations and get the same answer.
        skips_overflows: Steps whose gradients overflow are skipped (float16). Such a loss harms nothing by itself, so
            that it must come back in several records.
    """

    def __init__(self, module: nn.Module, process: Process, skips_overflows: bool) -> None:
        self._module = module
        self._process = process
        self._skips_overflows = skips_overflows
        self._patience = _PATIENCE if skips_overflows else 1
        self._bad_records = 0
        self._trained = self._values(trained=True)
        self._iteration = 0
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._noted = 0
        self._names: list[str] = []
        self._is_good = self._good = torch.empty(0)

    @torch.no_grad()
    def note(self, iteration: int, record: Record) -> None:
        """Keep, on the device, for how many iterations since the last record each loss and tensor has been a number.

        Args:
            iteration: The one that was done, counted from 1.
            record: Its figures.
        """
        self._iteration = iteration
        losses = _losses(record)
        # on a CPU sums take half the time of maxima
        sums = torch._foreach_norm(list(self._trained.values()), 1)
        is_finite = torch.stack([value.float() for value in (*losses.values(), *sums)]).isfinite()
        if not self._noted:
            self._names = [*losses, *self._trained]
            self._is_good, self._good = is_finite, is_finite.int()
        else:
            self._is_good.logical_and_(is_finite)
            self._good.add_(self._is_good)
        self._noted += 1

    def look(self, record: Record | None = None) -> Finding | None:
        """Say what is not a number and since when, the same on every process; None where all is well.

        Args:
            record: Figures of the iterations since the last record, on the device; None looks at the networks alone.
        """
        mine = self._own_finding(record)
        if self._process.any(mine is not None):
            return min(finding for finding in self._process.gather(mine) if finding is not None)
        if record is not None:
            self._begin_interval()
        return None

    @torch.no_grad()
    def _own_finding(self, record: Record | None) -> Finding | None:
        values = self._values()
        losses = _losses(record or {})
        largest = torch.stack(torch._foreach_norm(list(values.values()), math.inf)).max()
        found = torch.stack([largest.float(), *(value.float() for value in losses.values())]).tolist()
        if not math.isfinite(found[0]):
            broken = [name for name, value in values.items() if not value.isfinite().all()]
            return self._first([name for name in self._names if not self._skips_overflows or name in values], broken)
        if record is None:
            return None
        bad = [name for name, value in zip(losses, found[1:], strict=True) if not math.isfinite(value)]
        self._bad_records = self._bad_records + 1 if bad else 0
        return self._first(bad, bad) if self._bad_records >= self._patience else None

    def _first(self, candidates: list[str], broken: list[str]) -> Finding:
        """Say which candidate was the first that ceased to be a number; where none was seen to, it is one of these."""
        good = dict(zip(self._names, self._good.tolist(), strict=True))
        start = self._iteration - self._noted + 1
        since = {name: start + good[name] for name in candidates if good.get(name, self._noted) < self._noted}
        ordered = sorted(since or broken, key=_place)
        return min(Finding(since.get(name, self._iteration), place, name) for place, name in enumerate(ordered))

    def _values(self, trained: bool = False) -> dict[str, Tensor]:
        """Parameters and statistics of the networks, by name; of parameters perhaps only those that are trained."""
        buffers = {
            name: buffer
            for name, buffer in self._module.named_buffers()
            if name.rpartition(".")[2] in _STATISTICS and buffer.is_floating_point()
        }
        parameters = self._module.named_parameters()
        return {name: p for name, p in parameters if p.requires_grad or not trained} | buffers


def _losses(record: Record) -> Record:
    return {name: value for name, value in record.items() if name.startswith("loss/")}


def _place(name: str) -> int:
    return next((place for place, pattern in enumerate(_ORDER) if pattern.match(name)), len(_ORDER))
