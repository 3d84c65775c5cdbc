"""Measure on an NVIDIA GPU: ``python -m benchmarks.gpu [--stage NAME] [options] [options of a training]``.

Without ``--stage`` it runs ``correctness``, ``ladder`` and ``operators`` one after another, up to the first that fails,
as ``make gpu`` does. Each stage writes a record of its own and prints its table last. ``--smoke`` runs tiny sizes on
the CPU, to see that a stage works; it claims no figures.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.requirements import complaint

STAGES = ("correctness", "ladder", "operators", "data", "distributed", "critic", "best")
DEFAULT = STAGES[:3]
SECONDS = 220.0
"""What a stage takes at most, unless told otherwise, so that each fits into four minutes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run stages; the exit status is 1 where one fails and 2 where something is missing."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--stage", choices=STAGES, action="append", help="may be given several times")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU; claims no figures")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each stage; what does not fit is left out")
    parser.add_argument("--part", default="1/1", help="of the tests of correctness: 2/3 is the second third")
    parser.add_argument("--records", type=Path, help="folder of the records; benchmarks/records without it")
    options, further = parser.parse_known_args(words)
    stages = tuple(options.stage or DEFAULT)
    if further and not set(stages) <= {"critic", "best"}:
        parser.error(f"{further[0]}: only --stage critic and --stage best take options of a training")
    part = _part(options.part)
    if part is None:
        parser.error(f"--part {options.part}: give which of how many, such as 2/3")
    missing = complaint(options.smoke)
    if missing is not None:
        print(f"error: make gpu: {missing}", file=sys.stderr)
        return 2
    import torch

    from benchmarks.gpu.stage import Clock, Task, run_stage
    from benchmarks.record import RECORDS
    from intact_fast.errors import UserError, fail

    device = torch.device("cpu") if options.smoke else torch.device("cuda", 0)
    folder = options.records or (Path(tempfile.mkdtemp(prefix="smoke-")) if options.smoke else RECORDS)
    folder.mkdir(parents=True, exist_ok=True)
    for name in stages:
        stage = importlib.import_module(f"benchmarks.gpu.{name}").measure
        command = shlex.join(["python", "-m", "benchmarks.gpu", *_of_stage(words, options.stage, name)])
        task = Task(device, options.smoke, Clock(options.seconds), part, tuple(further))
        try:
            if not run_stage(name, stage, task, command, folder):
                return 1
        except UserError as error:
            return fail(error, debug=False)
    return 0


def _part(text: str) -> tuple[int, int] | None:
    which, _, of = text.partition("/")
    if not (which.isdecimal() and of.isdecimal()) or not 1 <= int(which) <= int(of):
        return None
    return int(which), int(of)


def _of_stage(words: Sequence[str], chosen: Sequence[str] | None, name: str) -> list[str]:
    """The command line that runs this stage alone."""
    if chosen is not None and len(chosen) == 1:
        return list(words)
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--stage" and not word.startswith("--stage="):
            kept.append(word)
        skip = word == "--stage"
    return ["--stage", name, *kept]


if __name__ == "__main__":
    sys.exit(main())
