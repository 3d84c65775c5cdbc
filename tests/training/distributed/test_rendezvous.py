from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from intact_fast.training.distributed import rendezvous
from intact_fast.training.distributed.rendezvous import agree_on_name


def meet(store: dist.Store, ranks: list[int], size: int) -> list[str]:
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: agree_on_name(store, rank, size), ranks))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_each_start_has_a_name_of_its_own(order: list[int]) -> None:
    """Also where the others come before rank 0 and find what the last start left."""
    store = dist.HashStore()
    names = [meet(store, order, 3) for _ in range(3)]
    assert all(len(set(start)) == 1 for start in names)
    assert len({start[0] for start in names}) == 3


def test_another_number_of_workers_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.HashStore()
    first = meet(store, [0, 1, 2], 3)
    second = meet(store, [1, 0], 2)
    assert second[0] == second[1] != first[0]
    monkeypatch.setattr(rendezvous, "_PATIENCE", 0.2)
    with pytest.raises(TimeoutError, match="rank 1: rank 0 did not come"):
        agree_on_name(store, 1, 2)
