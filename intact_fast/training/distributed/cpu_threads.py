"""The CPU's cores: how many this process may use, and what its OpenMP threads do while they wait."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_THREADS = "OMP_NUM_THREADS"
_WAITING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""How long a thread looks for work before it sleeps: turns with GCC's OpenMP, milliseconds with Intel's.

By default that is 300,000 turns, or 200 ms. A thread that waits for one without a core then keeps its own core from
the other process for as long, at the end of each of an iteration's thousands of parallel loops.
"""


def prepare_openmp() -> None:
    """Let OpenMP's threads sleep soon while they wait, unless the user has said how; before PyTorch is imported."""
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", *_WAITING)):
        os.environ.update(_WAITING)


def use_cores() -> None:
    """Let PyTorch and the ranking engine use this process's share of the cores, unless the user has set their number.

    Imports PyTorch.
    """
    count = wanted_threads(os.environ, _initial_environment(os.getppid()))
    if count is None:
        return
    import torch

    # a program around this one may want fewer; torchrun's single thread is nobody's wish
    if _THREADS in os.environ or count < torch.get_num_threads():
        torch.set_num_threads(count)


def wanted_threads(environment: Mapping[str, str], starter: Mapping[str, str] | None) -> int | None:
    """Give the number of threads to set; None leaves it as it is.

    torchrun gives each of several processes one thread where the user has set nothing. What it was itself started with
    tells whether it was the user.

    Args:
        environment: Of this process.
        starter: What the parent process was started with; None where that cannot be read.
    """
    if _THREADS in environment:
        by_torchrun = "TORCHELASTIC_RUN_ID" in environment and environment[_THREADS] == "1"
        if not by_torchrun or starter is None or _THREADS in starter:
            return None
    local = environment.get("LOCAL_WORLD_SIZE", "1")
    return max(1, usable_cores() // max(1, int(local) if local.isdecimal() else 1))


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than its control groups' quota."""
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count() or 1
    else:
        cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(int(quota) for quota in _quotas(_PROC / "self" / "cgroup", _CGROUPS))]))


def _quotas(membership: Path, root: Path) -> Iterator[float]:
    """Give the quotas of CPU time, in cores, of this process's control groups and of those above them."""
    with contextlib.suppress(OSError):
        for line in membership.read_text(encoding="utf-8", errors="replace").splitlines():
            number, controllers, path = line.split(":", 2)
            top = root if number == "0" else root / controllers
            if number == "0" or "cpu" in controllers.split(","):
                group = top / path.lstrip("/")
                # in a container the path can be one of the host, and the group is the root
                for folder in dict.fromkeys([group, *group.parents, top]):
                    if folder.is_relative_to(top):
                        yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    # no file where there is no quota; -1 and max are none either
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        yield int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)


def _initial_environment(process: int) -> dict[str, str] | None:
    """Read what a process was started with; what it has set since is not among it."""
    try:
        content = (_PROC / str(process) / "environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition(b"=") for entry in content.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
