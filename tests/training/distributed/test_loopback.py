"""Processes of one host talk where no other host reaches them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch.distributed as dist

from benchmarks.chaos.campaigns.paths import is_loopback, listening
from intact_fast.training.distributed import process as processes

_RANK = """
import sys
from intact_fast.training.distributed.process import process_group
with process_group("cpu") as process:
    assert process.broadcast("met") == "met"
    print("met", flush=True)
    sys.stdin.read()
"""


def test_two_processes_listen_on_the_loopback_alone() -> None:
    # torchrun, which is not ours, keeps such a store for its processes
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    group = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    group |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port)}
    group.pop("GLOO_SOCKET_IFNAME", None)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK],
            env={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "met\n"
        addresses = [listening(rank.pid) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert all(addresses)
    assert all(is_loopback(address) for found in addresses for address in found)


@pytest.mark.parametrize(
    ("here", "own", "expected"),
    [("4", None, "lo"), ("4", "eth7", "eth7"), ("2", None, None)],
    ids=["one host", "the user's choice", "two hosts"],
)
def test_which_interface(monkeypatch: pytest.MonkeyPatch, here: str, own: str | None, expected: str | None) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", own or "")
    if own is None:
        monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    processes._talk_over_loopback()
    assert os.environ.get("GLOO_SOCKET_IFNAME") == expected
