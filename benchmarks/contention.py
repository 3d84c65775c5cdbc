"""What trainings on the same CPU cost each other: ``python -m benchmarks.contention [NAME=VALUE ...]``.

Iterations of the preset ``cpu`` are timed in one process alone, then in two beside each other, in turns. Two that
share the cores fairly each have half of the speed. Settings such as ``GOMP_SPINCOUNT=300000`` go into the environment
of the processes; without one they have what ``intact-fast train`` sets.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

SECONDS = 6.0
"""How long each process is timed."""
TURNS = 5
BATCH = 32


def train(seconds: float) -> float:
    """Pictures per second of this process."""
    # first of all, as a training does
    from intact_fast.training.distributed.cpu_threads import prepare_openmp, use_cores

    prepare_openmp()
    import torch

    from benchmarks.setup import make_step, random_batch
    from intact_fast.config.presets import CPU

    use_cores()
    device = torch.device("cpu")
    step, batch = make_step(CPU, device), random_batch(CPU, BATCH, device)
    step(batch, 1000, False)
    # all begin together
    print("ready", flush=True)
    sys.stdin.readline()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step(batch, 1000, False)
        done += 1
    return BATCH * done / (time.perf_counter() - started)


def measure(processes: int, environment: dict[str, str], seconds: float = SECONDS) -> list[float]:
    """Pictures per second of each of some processes that train at the same time."""
    command = [sys.executable, "-m", "benchmarks.contention", "--train", str(seconds)]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return [float(child.communicate()[0]) for child in children]


def compare(environment: dict[str, str], turns: int = TURNS, seconds: float = SECONDS) -> dict[str, list[float]]:
    """Pictures per second alone, and of each of two beside each other, of every turn."""
    alone: list[float] = []
    together: list[float] = []
    for _ in range(turns):
        alone += measure(1, environment, seconds)
        together += measure(2, environment, seconds)
    return {"alone": alone, "together": together}


def main() -> None:
    """Measure and print the medians."""
    if sys.argv[1:2] == ["--train"]:
        print(train(float(sys.argv[2])))
        return
    settings = dict(setting.split("=", 1) for setting in sys.argv[1:])
    found = compare(os.environ | settings)
    for name, speeds in found.items():
        print(f"{name:<9}{statistics.median(speeds):>8.1f} pictures/s ({min(speeds):.1f} to {max(speeds):.1f})")
    ratio = statistics.median(found["together"]) / statistics.median(found["alone"])
    print(f"two beside each other keep {ratio:.2f} of the speed each; 0.5 is a fair half")


if __name__ == "__main__":
    main()
