"""Stage ``correctness``: the tests that need a GPU, each file in a process of its own, those that compile last."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.gpu.stage import Clock, Outcome, Task

ROOT = Path(__file__).parents[2]
SMOKE = ("tests/data/test_degradation.py",)
"""Runs on a CPU in a second."""

_VERBOSITY = ("-o", "addopts=--strict-markers --import-mode=importlib")
"""The project's own options make pytest quiet, and here it names each test."""

_OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
_COMPILES = re.compile(r"compil|-on\]|\[on-", re.IGNORECASE)


def marked_files() -> list[str]:
    """Files with tests of a GPU, so that the others' test libraries need not be there."""
    return [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if any(
            "mark.cuda" in near.read_text(encoding="utf-8")
            for near in (path, path.parent / "conftest.py")
            if near.is_file()
        )
    ]


def collected(files: Sequence[str], marker: str) -> list[str]:
    """Ids of the tests of some files with a marker."""
    command = [sys.executable, "-m", "pytest", "--collect-only", *_VERBOSITY, "-q", "-m", marker, *files]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    # pytest's 5 is "no test selected"
    assert run.returncode in (0, 5), run.stdout + run.stderr
    return [line for line in run.stdout.splitlines() if "::" in line]


def in_order(tests: Sequence[str], part: tuple[int, int]) -> list[str]:
    """One of several equal parts, in which tests that compile come last."""
    which, of = part
    return sorted(tests[which - 1 :: of], key=lambda test: (bool(_COMPILES.search(test)), test.split("::")[0]))


def outcomes(tests: Sequence[str], clock: Clock) -> Iterator[tuple[str, str, str]]:
    """Run tests of one file; gives each one's id, its outcome and what was printed of it.

    Where the time is over the process is ended, and the tests that are left have no outcome.
    """
    command = [sys.executable, "-m", "pytest", *_VERBOSITY, "-v", "--tb=short", *tests]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        timer = threading.Timer(clock.left(), process.kill)
        timer.start()
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                match = _OUTCOME.match(line)
                if match is not None:
                    yield match[1], match[2].lower(), line.rstrip()
        finally:
            timer.cancel()


def measure(task: Task) -> Outcome:
    """Run the tests of this part as far as the time goes."""
    files = SMOKE if task.smoke else marked_files()
    wanted = in_order(collected(files, "not cuda" if task.smoke else "cuda"), task.part)
    found: dict[str, str] = {}
    for _, group in groupby(wanted, key=lambda test: (test.split("::")[0], bool(_COMPILES.search(test)))):
        if task.clock.has(5):
            found |= {test: outcome for test, outcome, _ in outcomes(list(group), task.clock)}
    counts: dict[str, Counter[str]] = {}
    for test in wanted:
        counts.setdefault(test.split("::")[0], Counter())[found.get(test, "not run")] += 1
    total = sum(counts.values(), Counter())
    failed = [test for test, outcome in found.items() if outcome in ("failed", "error")]
    columns = ("passed", "failed", "error", "skipped", "not run")
    table = [f"{'file':<52}" + "".join(f"{column:>9}" for column in columns)]
    for file, row in [*counts.items(), ("all", total)]:
        table.append(f"{file:<52}" + "".join(f"{row[column]:>9}" for column in columns))
    table += [f"failed: {test}" for test in failed]
    which, of = task.part
    return Outcome(
        f"{total['passed']} of {len(wanted)} tests of a GPU passed, {len(failed)} failed"
        + (f" (part {which} of {of})." if of > 1 else "."),
        {"part": list(task.part), "files": {file: dict(row) for file, row in counts.items()}, "failed": failed},
        table,
        # nothing that passed proves nothing
        passed=not failed and total["passed"] > 0,
        kind="tests",
        left_out=[test for test in wanted if test not in found],
    )
