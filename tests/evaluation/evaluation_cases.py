"""What tests of an evaluation share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from intact_fast.data.manifest import Manifest
from intact_fast.serving.sr_reid import SRReID

T = TypeVar("T")
Setting = tuple[SRReID, Manifest, Path]


class Together:
    """Processes in one process: whatever they share is computed by each in turn."""

    def __init__(self, world_size: int) -> None:
        self.rank, self.world_size = 0, world_size
        self.asked = 0

    def share(self, function: Callable[[], T]) -> list[T]:
        values = []
        for rank in range(self.world_size):
            self.rank = rank
            values.append(function())
        self.rank = 0
        return values

    def on_main(self, function: Callable[[], T]) -> T:
        self.asked += 1
        return function()
