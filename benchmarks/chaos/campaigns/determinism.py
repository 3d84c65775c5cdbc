"""The same seed on the same machine: equal bit for bit; and what another number of threads or instructions changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from benchmarks.chaos.equal_runs import differences
from benchmarks.chaos.programs import command, finish_all
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import OPTIONS, draw_pictures, figures_of

ITERATIONS = 40
HERE = "here"


@dataclass(frozen=True)
class Machine:
    """Another kind of machine, as variables and options make this one.

    Attributes:
        variables: Of the environment.
        options: Of the training.
        like: The training that it is compared with.
        bound: Largest relative difference of a loss after one iteration; None where it is only measured.
        own_critic: Whether it also trains C, in place of loading the one of the first training.
    """

    variables: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    like: str = HERE
    bound: float | None = 1e-3
    own_critic: bool = False


# threads that wait for work would take the processor from those that have some, where others use it
_TWO_THREADS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
_BFLOAT16 = ("--training.precision", "bf16")
MACHINES: dict[str, Machine] = {
    "2 threads": Machine(_TWO_THREADS),
    "AVX2": Machine({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "bfloat16": Machine(options=_BFLOAT16, bound=None),
    "bfloat16 without AMX": Machine({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, _BFLOAT16, like="bfloat16", bound=None),
    "2 threads, which also trained C": Machine(_TWO_THREADS, bound=None, own_critic=True),
}


def run(trial: Trial) -> list[Promise]:
    """Train twice by the same command, beside other rows, and as on other machines."""
    options = [*OPTIONS, "--data.root", draw_pictures(trial.folder), "--runs", trial.folder / "runs"]
    return [repeated(trial, options), beside(trial, options), elsewhere(trial, options)]


def repeated(trial: Trial, options: list[Any]) -> Promise:
    """Compare two runs of the same command."""
    promise = Promise(
        "The same command twice on the same machine gives the same bits, with either loader and one or two processes: "
        "weights, optimisers, metrics, evaluation, thresholds, `report.md` and pictures but for curves of img/s."
    )
    kinds = list(product(("pillow", "dali"), (1, 2)))[: trial.count(4)]
    commands = {}
    for (loader, processes), number in product(kinds, "ab"):
        name = f"{loader}-{processes}-{number}"
        own = ["--name", name, "--data.backend", loader, "--training.iterations", 12, "--training.validate-every", 6]
        own += ["--data.threads", 2, "--training.log-every", 3]
        commands[name] = command("intact_fast.train", [*options, *own], processes)
    failed = finish_all(commands)
    for loader, processes in kinds:
        a, b = (trial.folder / "runs" / f"{loader}-{processes}-{number}" for number in "ab")
        found = list(failed.values()) or differences(a, b)
        promise.test(not found, f"{loader}, {processes} processes: {found[:3]}")
    return promise


def beside(trial: Trial, options: list[Any]) -> Promise:
    """Compare tables of which one computes two rows at the same time."""
    promise = Promise(
        "A table's rows are the same bits with --jobs 1 and --jobs 2 where each row has as many threads (here one)."
    )
    recipes = ["--recipes", "mse+id", "sole-sr", "--seeds", 1, "--training.iterations", 12, "--data.threads", 0]
    commands = {
        f"jobs-{jobs}": command(
            "intact_fast.cli", ["experiments", *options, *recipes, "--name", f"jobs-{jobs}", "--jobs", jobs]
        )
        for jobs in (1, 2)
    }
    failed = finish_all(commands)
    one, two = (trial.folder / "runs" / name for name in commands)
    rows = sorted(path.name for path in one.glob("*-seed0"))
    # both recipes and C
    promise.test(len(rows) == 3, f"rows {rows}: {list(failed.values())}")
    for row in rows:
        found = list(failed.values()) or differences(one / row, two / row, (one.name, two.name))
        promise.test(not found, f"{row}: {found[:3]}")
    return promise


def elsewhere(trial: Trial, options: list[Any]) -> Promise:
    """Measure what another kind of machine changes, and how it grows."""
    promise = Promise(
        "From the same C and seed another number of threads or another instruction set changes the last digits alone. "
        "After one iteration all losses agree within 0.1 %."
    )
    runs = trial.folder / "runs"
    own = ["--training.log-every", 1, "--training.iterations", ITERATIONS, "--training.validate-every", ITERATIONS]

    def training(name: str, *more: object) -> dict[str, list[str]]:
        return {name: command("intact_fast.train", [*options, *own, "--name", name, *more])}

    failed = finish_all(training(HERE))
    critic = ("--critic.checkpoint", runs / HERE / "checkpoints" / "critic.pt")
    machines = dict(list(MACHINES.items())[: trial.count(len(MACHINES))])
    commands = {}
    for name, machine in machines.items():
        commands |= training(name, *machine.options, *(() if machine.own_critic else critic))
    failed |= finish_all(commands, {name: machine.variables for name, machine in machines.items()})
    for name, machine in machines.items():
        if failed:
            promise.test(False, str(failed))
            continue
        here, there = (figures_of(runs / run) for run in (machine.like, name))
        first, last = (largest_change(here, there, iteration) for iteration in (1, ITERATIONS))
        if machine.bound is not None:
            promise.test(first < machine.bound, f"{name}: a loss differs by {100 * first:.2g} % after one iteration")
        promise.figures[f"{name}: loss, 1st iteration"] = f"{first:.1e}"
        promise.figures[f"{name}: loss, {ITERATIONS}th iteration"] = f"{last:.1e}"
    return promise


def largest_change(a: list[dict[str, Any]], b: list[dict[str, Any]], iteration: int) -> float:
    """Give the largest relative difference of a loss at an iteration."""
    one, two = (
        next(record for record in records if record["iteration"] == iteration and "loss/mse" in record)
        for records in (a, b)
    )
    losses = [name for name in one if name.startswith("loss/")]
    return max(abs(one[name] - two[name]) / max(abs(one[name]), 1e-12) for name in losses)
