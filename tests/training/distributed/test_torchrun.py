"""Two gloo processes under torchrun, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands.command_cases import TINY
from intact_fast.commands.evaluate import main as evaluate_command
from intact_fast.data.manifest import Manifest
from intact_fast.files import read_checkpoint
from intact_fast.training.checkpoints import CheckpointStore

ROOT = Path(__file__).parents[2]


def torchrun(processes: int, *arguments: object, restarts: int = 0) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        f"--max-restarts={restarts}",
        *("-m", "intact_fast.train", *TINY, *map(str, arguments)),
    ]


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture
def options(tmp_path: Path, picture_folder: Callable[..., Path]) -> list[object]:
    return ["--runs", tmp_path / "runs", "--data.root", picture_folder(), "--training.checkpoint-every", 1000]


def test_two_processes_train_stop_and_resume(tmp_path: Path, options: list[object]) -> None:
    """SIGTERM to one rank stops both at the same iteration; the resumed run equals an unbroken one."""
    options += ["--critic.erased", 0.5, "--critic.ema-decay", 0.5]
    whole = finish(start(torchrun(2, *options, "--name", "whole", "--training.iterations", 14)))
    assert whole.count("INTACT 14/14") == 1, "only rank 0 speaks"

    command = torchrun(2, *options, "--name", "broken", "--training.iterations", 14)
    process = start(command)
    metrics = tmp_path / "runs" / "broken" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and '"task": "INTACT"' in metrics.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    second_rank = _worker_of(process.pid, rank=1)
    os.kill(second_rank, signal.SIGTERM)
    output = finish(process)
    assert "state saved; run the same command to go on" in output
    stopped = CheckpointStore(tmp_path / "runs" / "broken" / "checkpoints", 1).latest()
    assert stopped is not None
    assert 0 < read_checkpoint(stopped, "--x")["iteration"] < 14

    assert "Resuming INTACT at iteration" in finish(start(command))
    states = []
    for name in ("whole", "broken"):
        latest = CheckpointStore(tmp_path / "runs" / name / "checkpoints", 1).latest()
        assert latest is not None
        states.append(read_checkpoint(latest, "--x"))
    assert states[0]["world_size"] == 2
    for part in ("networks",):
        for key, value in states[0]["state"][part].items():
            assert torch.equal(value, states[1]["state"][part][key]), key
    first, second = states[0]["ranks"]
    batch_norm = "generator.encoder.0.0.bn1.running_mean"
    assert not torch.equal(first["buffers"][batch_norm], second["buffers"][batch_norm]), "ranks see other pictures"
    for rank in (0, 1):
        for key, value in states[0]["ranks"][rank]["buffers"].items():
            assert torch.equal(value, states[1]["ranks"][rank]["buffers"][key]), key
    critics = [tmp_path / "runs" / name / "checkpoints" for name in ("whole", "broken")]
    whole_c, broken_c = (read_checkpoint(folder / "critic.pt", "--x")["state_dict"] for folder in critics)
    (checkpoint,) = (critics[0] / "critic").glob("*.pt")
    average = read_checkpoint(checkpoint, "--x")["state"]["average"]
    for key, value in average.items():
        assert torch.equal(value, whole_c[key]), key
        assert torch.equal(value, broken_c[key]), key


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves(tmp_path: Path, options: list[object], number: signal.Signals) -> None:
    """Terminals and schedulers signal torchrun, the trainer and its Pillow workers together."""
    command = torchrun(1, *options, "--data.threads", 1, "--training.iterations", 100_000)
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    runs = tmp_path / "runs" / "default"
    deadline = time.monotonic() + 120
    while not ((runs / "metrics.jsonl").is_file() and "INTACT" in (runs / "metrics.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert "state saved; run the same command to go on" in output
    assert CheckpointStore(runs / "checkpoints", 1).latest() is not None


def test_a_killed_rank_is_restarted_and_the_run_resumes(tmp_path: Path, options: list[object]) -> None:
    """The new workers must not meet the addresses that the dead ones left in torchrun's store."""
    options = [*options, "--training.iterations", 20, "--training.checkpoint-every", 4]
    process = start(torchrun(2, *options, restarts=1))
    checkpoints = tmp_path / "runs" / "default" / "checkpoints"
    deadline = time.monotonic() + 120
    while CheckpointStore(checkpoints, 1).latest() is None:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(_worker_of(process.pid, rank=1), signal.SIGKILL)
    output = finish(process)
    assert "Resuming INTACT at iteration" in output
    assert read_checkpoint(checkpoints / "iteration_00000020.pt", "--x")["iteration"] == 20


def test_a_killed_rank_of_two_agents(tmp_path: Path, options: list[object]) -> None:
    """Two hosts in the eyes of torchrun, whose counts of restarts can differ."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = [*options, "--training.iterations", 28, "--training.checkpoint-every", 4]
    command = torchrun(1, *options, restarts=2)
    at = command.index("--standalone")
    command[at : at + 1] = ["--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}"]
    agents = [start(command), start(command)]
    checkpoints = tmp_path / "runs" / "default" / "checkpoints"
    deadline = time.monotonic() + 120
    while CheckpointStore(checkpoints, 1).latest() is None:
        assert time.monotonic() < deadline
        assert all(agent.poll() is None for agent in agents)
        time.sleep(0.05)
    os.kill(next(filter(None, (_find_worker(agent.pid, rank=1) for agent in agents))), signal.SIGKILL)
    outputs = [finish(agent) for agent in agents]
    assert any("Resuming INTACT at iteration" in output for output in outputs)
    assert read_checkpoint(checkpoints / "iteration_00000028.pt", "--x")["iteration"] == 28


def _worker_of(agent: int, rank: int) -> int:
    worker = _find_worker(agent, rank)
    assert worker is not None, f"no worker of rank {rank}"
    return worker


def _find_worker(agent: int, rank: int) -> int | None:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if parent == agent and f"RANK={rank}".encode() in environment:
            return int(entry.name)
    return None


def test_another_number_of_processes_resumes_at_the_epoch(tmp_path: Path, options: list[object]) -> None:
    """With the fused operators below DDP."""
    options = [*options, "--training.kernels", "triton"]
    finish(start(torchrun(2, *options, "--training.iterations", 2)))
    output = finish(start(torchrun(1, *options, "--training.iterations", 3)))
    assert "The checkpoint is of 2 processes, now there are 1: epoch" in output
    figures = json.loads((tmp_path / "runs" / "default" / "evaluation.json").read_text())
    assert figures["queries"] == 12


def test_two_processes_evaluate_as_one(
    tmp_path: Path, options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Rank 0's G is validated and evaluated, each process reading a part; a picture that one misses stops both."""
    options = [*options, "--data.val-fraction", 0.4, "--evaluation.batch-size", 4]
    process = start(torchrun(2, *options, "--training.iterations", 4, "--training.validate-every", 2))
    assert finish(process).count("validation at") == 2
    run = tmp_path / "runs" / "default"
    figures = json.loads((run / "evaluation.json").read_text())
    latest = CheckpointStore(run / "checkpoints", 1).latest()
    # features computed with as many threads as torchrun's workers had
    assert torch.get_num_threads() == 1
    assert evaluate_command(["--checkpoint", str(latest), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == figures["rows"]

    manifest = Manifest.load(run / "manifest.jsonl")
    victim = manifest.split("query")[5]
    (tmp_path / "pictures" / victim.path).unlink()
    process = start(torchrun(2, *options, "--training.iterations", 6, "--training.validate-every", 2))
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count(f"{victim.path}: listed in the manifest but missing") == 1


def test_user_error_speaks_once(tmp_path: Path, options: list[object]) -> None:
    process = start(torchrun(2, *options, "--data.lr-camera", 9))
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("error: --data.lr-camera 9") == 1


def test_a_diverged_training_stops_all_and_speaks_once(tmp_path: Path, options: list[object]) -> None:
    options = [*options, "--training.iterations", 50, "--optimiser.generator-learning-rate", "1e30"]
    process = start(torchrun(2, *options))
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("error: INTACT: ") == 1
    assert "is not a number at iteration" in output
    assert "INTACT 3/50" not in output, "it stops at the record"
    assert not list((tmp_path / "runs" / "default" / "checkpoints").glob("iteration_*.pt"))


def test_a_full_disk_stops_all_and_speaks_once(options: list[object], tiny_disk: Path) -> None:
    process = start(torchrun(2, *options, "--runs", tiny_disk))
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("cannot be written (No space left on device); make room there") == 1
