"""How many of the CPU's cores a process uses, and how its threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from intact_fast.training.distributed import cpu_threads
from intact_fast.training.distributed.cpu_threads import prepare_openmp, usable_cores, wanted_threads

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("environment", "starter", "expected"),
    [
        ({}, {}, 8),
        ({}, None, 8),
        # by the user
        ({"OMP_NUM_THREADS": "3"}, {}, None),
        (TORCHRUN, {"OMP_NUM_THREADS": "1"}, None),
        (TORCHRUN | {"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "3"}, None),
        # by torchrun
        (TORCHRUN, {}, 4),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}, {}, 2),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "16"}, {}, 1),
        # where nobody can tell who it was
        (TORCHRUN, None, None),
    ],
)
def test_threads_of_a_process(
    environment: Mapping[str, str],
    starter: Mapping[str, str] | None,
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 8)
    assert wanted_threads(environment, starter) == expected


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        # the host's path, seen from inside a container
        ("0::/docker/0123\n", {"cpu.max": "400000 100000"}, 4),
        (
            "5:cpu,cpuacct:/x\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("5:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("", {}, 64),
    ],
)
def test_quota_of_a_control_group(
    membership: str, files: Mapping[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(membership, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n", encoding="utf-8")
    monkeypatch.setattr(cpu_threads, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(cpu_threads, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    assert usable_cores() == expected


def test_affinity_counts() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from intact_fast.training.distributed.cpu_threads import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"1\n"


def test_waiting_is_the_users_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setattr(os, "environ", {name: "7"})
        prepare_openmp()
        assert os.environ == {name: "7"}
    monkeypatch.setattr(os, "environ", {})
    prepare_openmp()
    assert os.environ == {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}


def test_waiting_is_set_before_openmp_is_there() -> None:
    """The runtime reads its settings once, as PyTorch loads it."""
    program = (
        "import os, sys\n"
        "from intact_fast.training.distributed import cpu_threads\n"
        "assert 'torch' not in sys.modules\n"
        "set_it = cpu_threads.prepare_openmp\n"
        "def prepare():\n"
        "    assert 'torch' not in sys.modules\n"
        "    set_it()\n"
        "    print('set')\n"
        "cpu_threads.prepare_openmp = prepare\n"
        "{start}\n"
    )
    starts = (
        "from intact_fast import cli; cli.main(['report', 'nowhere'])",
        "import runpy; sys.argv[1:] = ['--seed', 'x']; runpy.run_module('intact_fast.train', run_name='__main__')",
    )
    for start in starts:
        command = [sys.executable, "-c", program.format(start=start)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout, "Traceback" in done.stderr) == ("set\n", False), done.stderr


@pytest.mark.parametrize("given", [None, "1"])
def test_torchruns_single_thread(given: str | None, tmp_path: Path) -> None:
    """Without the user's word two processes share the cores; with it each has what the user says."""
    script = tmp_path / "worker.py"
    script.write_text(
        "from intact_fast.training.distributed import cpu_threads\n"
        "import torch\n"
        "cpu_threads.usable_cores = lambda: 8\n"
        "cpu_threads.use_cores()\n"
        "print(torch.get_num_threads(), flush=True)\n",
        encoding="utf-8",
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {} if given is None else {"OMP_NUM_THREADS": given}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["4", "4"] if given is None else ["1", "1"])
