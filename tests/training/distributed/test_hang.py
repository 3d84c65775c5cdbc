"""A process that hangs in an iteration is found after the stated time, not after that for which rank 0 may rank."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

_RANK = """
import sys, time
from datetime import timedelta
from intact_fast.training.distributed import process as processes
processes.HANG = timedelta(seconds=2)
with processes.process_group("cpu") as process:
    assert process.broadcast("met") == "met"
    # others wait for rank 0 for longer than an iteration may take
    process.on_main(lambda: time.sleep(3))
    print("waits", flush=True)
    if process.rank == 1:
        time.sleep(1000)
    begin = time.monotonic()
    try:
        process.any(False)
    except RuntimeError:
        print(time.monotonic() - begin, flush=True)
"""


def test_a_process_that_hangs_is_found() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK],
            env={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert ranks[0].stdout is not None
    said = ranks[0].stdout.read().split()
    for rank in ranks:
        rank.send_signal(signal.SIGKILL)
        rank.communicate()
    assert said[0] == "waits"
    assert 1 < float(said[1]) < 60
