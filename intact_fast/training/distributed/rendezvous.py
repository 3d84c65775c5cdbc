"""The rendezvous of one start's workers: they agree on a name that no worker of an earlier start knows."""

from __future__ import annotations

import time
import uuid

from torch.distributed import Store  # type: ignore[attr-defined]

from intact_fast.json_text import from_json, to_json

_PATIENCE = 600.0
_PAUSE = 0.05


def agree_on_name(store: Store, rank: int, world_size: int) -> str:
    """Find a name for this start of the workers.

    After a crash torchrun starts the workers again over the same store. There they would find the addresses of their
    dead predecessors, and torchrun's counts of restarts differ between hosts. So rank 0 proposes a name, collects a
    token from each of the others, and publishes those tokens. A worker takes a name only where it finds its own token.

    Args:
        store: What the workers and their predecessors share.
        rank: This worker.
        world_size: How many there are.

    Raises:
        TimeoutError: The others did not come.
    """
    if rank == 0:
        name = uuid.uuid4().hex
        store.set("rendezvous/name", name)
        answers = [f"rendezvous/{name}/{other}" for other in range(1, world_size)]
        tokens = [store.get(answer).decode() for answer in answers]
        store.set(f"rendezvous/{name}/met", to_json(tokens))
        return name
    token = uuid.uuid4().hex
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        name = store.get("rendezvous/name").decode()
        store.set(f"rendezvous/{name}/{rank}", token)
        met = f"rendezvous/{name}/met"
        if store.check([met]) and token in from_json(store.get(met)):
            return name
        time.sleep(_PAUSE)
    raise TimeoutError(f"rank {rank}: rank 0 did not come within {_PATIENCE:.0f} s")
