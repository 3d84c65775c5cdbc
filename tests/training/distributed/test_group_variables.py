"""Variables of a group that torchrun did not set."""

from __future__ import annotations

import pytest

from intact_fast.errors import UserError
from intact_fast.training.distributed.group_variables import check_group

GROUP = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize("environment", [{}, GROUP, {"WORLD_SIZE": "1", "RANK": "x"}, {"RANK": "7"}])
def test_groups_and_single_processes(environment: dict[str, str]) -> None:
    check_group(environment)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many: no whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE=: no whole number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: no process at all"),
        ({"RANK": "-1"}, "RANK=-1: no whole number"),
        ({"RANK": "2"}, "RANK=2: WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "q"}, "LOCAL_RANK=q: no whole number"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000: no port"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=f"^environment variable {words}; start several processes") as caught:
        check_group(GROUP | changes)
    assert caught.value.one_process


def test_a_group_without_a_place_in_it() -> None:
    with pytest.raises(UserError, match="WORLD_SIZE=2 is set, and RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not"):
        check_group({"WORLD_SIZE": "2"})
