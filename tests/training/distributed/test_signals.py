"""What schedulers send: a training saves and goes on, or saves and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from commands.command_cases import TINY
from intact_fast.files import read_checkpoint
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import Process
from intact_fast.training.distributed.signals import Requests, Wish, signals_as_interrupt

SINGLE_PROCESS = Process(0, 1, torch.device("cpu"), None)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """See that every handler is put back; tests that run under nohup have none for SIGHUP at first."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGXCPU)
    at_start = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert {number: signal.getsignal(number) for number in numbers} == before
    signal.signal(signal.SIGHUP, at_start)


def test_saving_is_asked_for_once() -> None:
    with Requests(SINGLE_PROCESS) as requests:
        assert requests.agreed() == Wish.NONE
        signal.raise_signal(signal.SIGUSR1)
        assert [requests.agreed(), requests.agreed()] == [Wish.SAVE, Wish.NONE]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU])
def test_stopping_stays_asked_for(number: signal.Signals) -> None:
    with Requests(SINGLE_PROCESS) as requests:
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGUSR1)
        assert [requests.agreed(), requests.agreed()] == [Wish.STOP, Wish.STOP]


def test_outside_a_training_loop_there_is_nothing_to_save() -> None:
    with signals_as_interrupt():
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR2)


def test_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupt(), Requests(SINGLE_PROCESS) as requests:
            signal.raise_signal(signal.SIGHUP)
            assert requests.agreed() == Wish.NONE
    finally:
        signal.signal(signal.SIGHUP, before)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_real_training(tmp_path: Path, picture_folder: Callable[..., Path], processes: int) -> None:
    """With several processes one alone is told, and all save at the same iteration; then all are, as by Slurm."""
    options = ["--runs", tmp_path / "runs", "--data.root", picture_folder(), "--data.threads", 1]
    options += ["--training.iterations", 100_000, "--training.checkpoint-every", 100_000]
    module = ["-m", "intact_fast.train", *TINY, *map(str, options)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # torchrun itself must not hear of it
    shell = ["sh", "-c", "trap '' USR1 USR2; exec \"$@\"", "sh"]
    command = [*shell, sys.executable, *(launcher if processes > 1 else []), *module]
    run = tmp_path / "runs" / "default"
    store, metrics = CheckpointStore(run / "checkpoints", 2), run / "metrics.jsonl"
    output_of = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **output_of) as process:  # type: ignore[call-overload]
        wait_for(lambda: metrics.is_file() and "INTACT" in metrics.read_text(), process)
        workers = [process.pid] if processes == 1 else workers_of(process.pid)
        told = workers[-1]
        os.kill(told, signal.SIGUSR1)
        wait_for(lambda: store.latest() is not None, process)
        first = store.last_iteration()
        lines = metrics.read_text().count("\n")
        wait_for(lambda: metrics.read_text().count("\n") > lines + 1, process)
        for pid in {process.pid, *workers}:
            os.kill(pid, signal.SIGUSR2)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output.count(f"State saved at iteration {first}, as a signal asked for.") == 1
    latest, last = store.latest(), store.last_iteration()
    assert latest is not None
    assert f"Stopped at iteration {last}, state saved; run the same command to go on." in output
    assert first is not None
    assert last is not None
    assert last > first
    assert read_checkpoint(latest, "--x")["world_size"] == processes


def workers_of(agent: int) -> list[int]:
    """The processes that an agent has started, in order of rank."""
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    environments = {int(pid): Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children}
    return [next(pid for pid, values in environments.items() if f"RANK={rank}".encode() in values) for rank in (0, 1)]
