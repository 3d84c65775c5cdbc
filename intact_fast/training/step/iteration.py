"""One iteration of Algorithm 1, as the loop sees it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from intact_fast.data.batches import Batch

Record = dict[str, Tensor]
"""Named device scalars of one iteration; nothing is brought to the host here."""


class Step(Protocol):
    """One iteration of Algorithm 1."""

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates.

        Args:
            batch: Pairs of pictures with identity labels.
            iteration: Number of the iteration, for the warm-up of L_dis.
            detailed: Also measure gradient norms (more backward passes, same updates).
        """
        ...

    def state(self) -> dict[str, Any]:
        """What the step itself carries from one iteration to the next, for a checkpoint."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from `state`."""
        ...
