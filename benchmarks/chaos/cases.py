"""Cases in forked processes: what each returns, says and takes, and whether it starts anything."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.promise import Promise

SECONDS = 5.0
"""Of the processor, that a case may take, and of the clock besides, that it may wait."""
BYTES = 2**30
"""By which a case may enlarge its process."""
_ADDRESSES = 3 * 2**30
"""Address space beyond what the process has: threads reserve much of it, and use little."""
_PATIENCE = 300.0
"""Seconds of the clock, on a machine that others use."""
_STARTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")


@dataclass(frozen=True)
class Case:
    """Something to try.

    Attributes:
        name: For the report.
        run: Gives an exit status; called in a child.
        needs: Says what is wrong besides, by the outcome; None where nothing is.
        closed: A folder of which no file may be opened.
    """

    name: str
    run: Callable[[], int]
    needs: Callable[[Outcome], str | None] = lambda outcome: None
    closed: Path | None = None


@dataclass
class Outcome:
    """What became of a case."""

    status: int | None = None
    said: str = ""
    """What it printed, on both outputs."""
    raised: str = ""
    """The last line of a traceback."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds of the clock besides those of the processor."""
    grown: int = 0
    forbidden: list[str] = field(default_factory=list)
    """Programs, addresses beyond the loopback that something listened on, and files that were not to be opened."""
    died: str = ""

    def fault(self) -> str | None:
        """Say what no bad file may bring about; None where it did not."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        if self.died or self.raised or "Traceback (most recent" in self.said:
            return self.died or self.raised or "a traceback"
        if self.forbidden:
            return f"did {', '.join(self.forbidden)}"
        if self.seconds > SECONDS:
            return f"took {self.seconds:.1f} s"
        if self.waited > SECONDS:
            return f"waited for {self.waited:.1f} s"
        if self.grown > BYTES:
            return f"took {self.grown / 2**20:.0f} MiB"
        if self.status not in (0, 1, 2) or (self.status == 2 and len(errors) != 1):
            return f"status {self.status} with {len(errors)} errors: {self.said[-300:]!r}"
        return None


def outcomes_of(cases: Sequence[Case], at_once: int = 1) -> list[Outcome]:
    """Run cases in forked processes; a process that one of them ends is followed by another.

    Args:
        cases: What to run. Those of one process run one after another.
        at_once: How many processes share them.
    """
    lanes = [_Lane(cases[number::at_once]) for number in range(min(at_once, len(cases)))]
    while waiting := [lane for lane in lanes if lane.has_more()]:
        select.select([lane.pipe for lane in waiting], [], [], 1.0)
        for lane in waiting:
            lane.listen()
    found: list[Outcome] = [Outcome()] * len(cases)
    for number, lane in enumerate(lanes):
        found[number::at_once] = lane.found
    return found


def tried(text: str, cases: Sequence[Case]) -> Promise:
    """Run cases, two at a time, and count where the promise did not hold."""
    promise = Promise(text)
    outcomes = outcomes_of(cases, at_once=2)
    for case, outcome in zip(cases, outcomes, strict=True):
        fault = outcome.fault() or case.needs(outcome)
        promise.test(fault is None, f"{case.name}: {fault}")
    promise.figures = {
        "cases": len(cases),
        "seconds of the processor": round(sum(outcome.seconds for outcome in outcomes)),
        "most seconds": round(max(outcome.seconds for outcome in outcomes), 1),
        "most seconds of waiting": round(max(outcome.waited for outcome in outcomes), 1),
        "most MiB": round(max(outcome.grown for outcome in outcomes) / 2**20),
        "refused": sum(outcome.status == 2 for outcome in outcomes),
    }
    return promise


def refused(outcome: Outcome) -> str | None:
    """Say that a case was not refused."""
    return None if outcome.status == 2 else f"taken with status {outcome.status}: {outcome.said[-200:]!r}"


class _Lane:
    """Cases that run one after another, and the process that they run in now."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.found: list[Outcome] = []
        self._cases = cases
        self._begin()

    def has_more(self) -> bool:
        """Whether there are cases without an outcome."""
        return len(self.found) < len(self._cases)

    def listen(self) -> None:
        """Take the outcomes that the process has told, and follow it by another where it has ended early."""
        died = ""
        if not select.select([self.pipe], [], [], 0)[0]:
            if time.monotonic() - self._heard < _PATIENCE:
                return
            os.kill(self._child, signal.SIGKILL)
            died = f"hung for {_PATIENCE:.0f} s"
        piece = b"" if died else self.pipe.read(2**16)
        self._heard = time.monotonic()
        *lines, self._text = (self._text + piece).split(b"\n")
        self.found += [Outcome(**json.loads(line)) for line in lines]
        if piece and self.has_more():
            return
        self.pipe.close()
        _, status = os.waitpid(self._child, 0)
        if self.has_more():
            self.found.append(
                Outcome(died=died or f"the process ended with status {os.waitstatus_to_exitcode(status)}")
            )
        if self.has_more():
            self._begin()

    def _begin(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(reading)
            try:
                _serve(self._cases[len(self.found) :], writing)
            finally:
                os._exit(0)
        os.close(writing)
        self.pipe = os.fdopen(reading, "rb", buffering=0)
        self._text = b""
        self._heard = time.monotonic()


def _serve(cases: Sequence[Case], pipe: int) -> None:
    forbidden: list[str] = []
    closed: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, forbidden, closed))
    # a fault of the machine is told by the status, and not on the screen
    faulthandler.disable()
    limit = _status("VmSize") + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryFile() as screen:
        os.dup2(screen.fileno(), 1)
        os.dup2(screen.fileno(), 2)
        # a test runner has put its own in their place
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
        for case in cases:
            forbidden.clear()
            closed[:] = [] if case.closed is None else [str(case.closed.resolve())]
            outcome = _tried(case)
            sys.stdout.flush()
            sys.stderr.flush()
            screen.seek(0)
            outcome.said = screen.read(2**20).decode(errors="replace")
            screen.seek(0)
            screen.truncate()
            outcome.forbidden = list(forbidden)
            os.write(pipe, json.dumps(asdict(outcome)).encode() + b"\n")


def _tried(case: Case) -> Outcome:
    outcome = Outcome()
    # what was the most until now is forgotten
    Path("/proc/self/clear_refs").write_text("5")
    before, begin, clock = _status("VmRSS"), time.process_time(), time.monotonic()
    try:
        outcome.status = case.run()
    except SystemExit as end:
        outcome.status = end.code if isinstance(end.code, int) else 1
    # whatever escapes is the fault that is looked for, panics of Rust among it
    except BaseException:
        outcome.raised = " ".join(traceback.format_exc().strip().splitlines()[-3:])
    outcome.seconds = time.process_time() - begin
    outcome.waited = time.monotonic() - clock - outcome.seconds
    outcome.grown = _status("VmHWM") - before
    return outcome


def _watch(event: str, arguments: tuple[Any, ...], forbidden: list[str], closed: list[str]) -> None:
    if event == "open" and closed and isinstance(arguments[0], str | bytes):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(closed[0]):
            forbidden.append(f"a look into {path}")
    elif event in _STARTED:
        forbidden.append(f"{event} {arguments[0]!r:.80}")
    elif event == "socket.bind" and isinstance(arguments[1], tuple):
        address = str(arguments[1][0])
        if not address.startswith(("127.", "::1", "localhost")):
            forbidden.append(f"a listener on {address}")


def _status(name: str) -> int:
    """Read bytes of memory of this process by the system's name for them."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(text.split(f"{name}:")[1].split()[0])
