"""Disks that are full, read-only or gone, clocks that jump, locks that are missing, two runs of one name at once."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.children import Board, Children, end_of, start, warm_up
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_commands import Command, commands
from benchmarks.chaos.tiny_runs import differences, draw_pictures, files_of, leftovers, training
from intact_fast.files import read_checkpoint

_FULL = 16
_SIZE = "48m"
_BALLAST = "ballast"
_DAY = 24 * 3600.0


def run(trial: Trial) -> list[Promise]:
    """Spoil the disk below trainings, and below the other commands."""
    pictures = draw_pictures(trial.folder)
    warm_up(training(pictures, trial.folder / "warm"), trial.folder / "warm.log", trial.folder)
    whole = start(training(pictures, trial.folder / "whole"), trial.folder / "whole.log", trial.folder / "whole")
    assert not any(whole.wait()), whole.log.read_text()
    setting = _Setting(trial, pictures, trial.folder / "whole" / "default", whole.board.changes)
    promises = [_clock(setting), _no_locks(setting), _two_at_once(setting), _vanished(setting)]
    if not _may_mount(trial.folder / "probe"):
        untested = Promise("A disk that is full or read-only: not tested, as this user may not mount a tmpfs")
        return [*promises, untested]
    return [_full_below_trainings(setting), *_full_below_commands(setting), _read_only(setting), *promises]


@dataclass(frozen=True)
class _Setting:
    """What all parts need.

    Attributes:
        trial: The campaign's.
        pictures: What is trained on.
        whole: Folder of an undisturbed run.
        changes: Changes of files that it made.
    """

    trial: Trial
    pictures: Path
    whole: Path
    changes: int

    def begin(self, runs: Path, prepare: Callable[[Board], None] = lambda board: None) -> Children:
        log = self.trial.folder / f"{runs.name}.log"
        return start(training(self.pictures, runs), log, runs, prepare=prepare)

    def faults_of_rerun(self, runs: Path) -> list[str]:
        """Run the same command again, undisturbed, and say what is wrong then."""
        last = self.begin(runs)
        (status,) = last.wait()
        if status != 0:
            return [f"status {status}: {end_of(last.log)}"]
        return [*differences(self.whole, runs / "default"), *leftovers(runs)]


@contextmanager
def _disk(place: Path, options: str = f"size={_SIZE}") -> Iterator[Path]:
    """Mount a tmpfs."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _may_mount(probe: Path) -> bool:
    try:
        with _disk(probe):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _fill(disk: Path) -> None:
    """Take all room that a disk has left."""
    with (disk / _BALLAST).open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def _one_line(log: Path, *words: str) -> list[str]:
    """Say what is wrong with how a command told of its error, where anything is."""
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if "Traceback" in text or len(errors) != 1:
        return [f"{len(errors)} errors told: {end_of(log)}"]
    return [f"says {errors[0]!r}" for word in words if word not in errors[0]]


def _full_below_trainings(setting: _Setting) -> Promise:
    promise = Promise(
        "A training on a full disk says so in one line, keeps its last good checkpoint, and goes on once it is freed"
    )
    draw = random.Random(setting.trial.seed)
    for number in range(setting.trial.count(_FULL)):
        at = 1 + draw.randrange(setting.changes)
        with _disk(setting.trial.folder / f"full{number}") as disk:
            children = setting.begin(disk / "runs", lambda board, at=at, disk=disk: _fill_at(board, disk, at))
            (status,) = children.wait()
            found = _one_line(children.log, str(disk), "No space left on device", "make room") if status else []
            found += [] if status in (0, 2) else [f"status {status}"]
            found += _unreadable_checkpoints(disk)
            (disk / _BALLAST).unlink(missing_ok=True)
            found += setting.faults_of_rerun(disk / "runs") if status else []
        promise.test(not found, f"full before change {at}: {', '.join(found[:4])}")
    return promise


def _fill_at(board: Board, disk: Path, change: int) -> None:
    count = board.count

    def count_and_fill() -> int:
        number = count()
        if number == change:
            _fill(disk)
        return number

    board.count = count_and_fill  # type: ignore[method-assign]


def _unreadable_checkpoints(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*.pt"):
        if not read_checkpoint(path, "chaos"):
            found.append(f"{path}: empty")
    return found


def _full_below_commands(setting: _Setting) -> list[Promise]:
    """Fill the disk at changes of the other commands; what was there before them stays."""
    made = commands(setting.trial.folder, setting.pictures)
    return [_full_below(setting, command) for command in made]


def _full_below(setting: _Setting, command: Command) -> Promise:
    promise = Promise(f"`{command.name}` on a full disk says so in one line, and ends once it is freed")
    draw = random.Random(setting.trial.seed)
    whole = setting.trial.folder / f"whole-{command.name.split()[0]}"
    whole.mkdir()
    command.set_up(whole)
    first = command.begin(whole)
    assert not any(first.wait()), first.log.read_text()
    for number in range(setting.trial.count(4)):
        at = 1 + draw.randrange(max(1, first.board.changes - 1))
        with _disk(setting.trial.folder / f"{command.name.split()[0]}{number}") as disk:
            out = disk / "out"
            out.mkdir()
            command.set_up(out)
            children = command.begin(out, lambda board, at=at, disk=disk: _fill_at(board, disk, at))
            (status,) = children.wait()
            found = _one_line(children.log, "No space left on device", "make room") if status else []
            found += [] if status in (0, 2) else [f"status {status}"]
            (disk / _BALLAST).unlink(missing_ok=True)
            found += command.faults_of_end(whole, out)
        promise.test(not found, f"full before change {at}: {', '.join(found[:4])}")
    return promise


def _read_only(setting: _Setting) -> Promise:
    promise = Promise("A training on a read-only disk says so in one line, and leaves all as it was")
    with _disk(setting.trial.folder / "read-only") as disk:
        shutil.copytree(setting.whole.parent, disk / "runs")
        before = {name: (disk / "runs" / name).read_bytes() for name in files_of(disk / "runs")}
        for options in ("ro", "rw"):
            subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)
            if options == "ro":
                children = setting.begin(disk / "runs")
                (status,) = children.wait()
                found = [] if status == 2 else [f"status {status}"]
                found += _one_line(children.log, str(disk), "read-only")
        found += [name for name, content in before.items() if (disk / "runs" / name).read_bytes() != content]
        promise.test(not found, ", ".join(found[:4]))
    return promise


def _vanished(setting: _Setting) -> Promise:
    promise = Promise("A training whose folder vanishes says so in one line or ends well, and begins anew or goes on")
    draw = random.Random(setting.trial.seed)
    for number in range(setting.trial.count(6)):
        runs = setting.trial.folder / f"vanished{number}"
        at = 1 + draw.randrange(setting.changes)
        children = setting.begin(runs)
        if children.run_until(lambda board, at=at: board.changes >= at):
            shutil.rmtree(runs, ignore_errors=True)
        (status,) = children.wait()
        found = [] if status in (0, 2) else [f"status {status}: {end_of(children.log)}"]
        found += _one_line(children.log) if status == 2 else []
        shutil.rmtree(runs, ignore_errors=True)
        found += setting.faults_of_rerun(runs)
        promise.test(not found, f"vanished at change {at}: {', '.join(found[:4])}")
    return promise


def _clock(setting: _Setting) -> Promise:
    promise = Promise("A clock that jumps back or ahead changes nothing of what a training leaves")
    for number, jump in enumerate((-_DAY, -3600.0, 3600.0, _DAY)[: setting.trial.count(4)]):
        runs = setting.trial.folder / f"clock{number}"
        children = setting.begin(runs, lambda board, jump=jump: _let_jump(board, jump, setting.changes // 2))
        (status,) = children.wait()
        found = [f"status {status}: {end_of(children.log)}"] if status else differences(setting.whole, runs / "default")
        promise.test(not found, f"{jump:.0f} s: {', '.join(found[:4])}")
    return promise


def _let_jump(board: Board, seconds: float, change: int) -> None:
    now = time.time
    time.time = lambda: now() + (seconds if board.changes >= change else 0.0)


def _no_locks(setting: _Setting) -> Promise:
    promise = Promise("A training on a disk without locks runs as on another one")
    for number, missing in enumerate((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)[: setting.trial.count(3)]):
        runs = setting.trial.folder / f"locks{number}"
        children = setting.begin(runs, lambda board, missing=missing: _refuse_locks(missing))
        (status,) = children.wait()
        found = [f"status {status}: {end_of(children.log)}"] if status else differences(setting.whole, runs / "default")
        promise.test(not found, f"{errno.errorcode[missing]}: {', '.join(found[:4])}")
    return promise


def _refuse_locks(number: int) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.lockf = refuse  # type: ignore[assignment]


def _two_at_once(setting: _Setting) -> Promise:
    promise = Promise("Of two runs of one name started at once one trains, and the other one says so in one line")
    for number in range(setting.trial.count(6)):
        runs = setting.trial.folder / f"twice{number}"
        both = [
            start(training(setting.pictures, runs), setting.trial.folder / f"twice{number}-{one}.log", runs)
            for one in range(2)
        ]
        statuses = [children.wait()[0] for children in both]
        found = [] if sorted(statuses) == [0, 2] else [f"statuses {statuses}: {[end_of(one.log) for one in both]}"]
        for children, status in zip(both, statuses, strict=True):
            found += _one_line(children.log, "another process works in") if status == 2 else []
        found += [] if found else differences(setting.whole, runs / "default")
        promise.test(not found, ", ".join(found[:4]))
    return promise
