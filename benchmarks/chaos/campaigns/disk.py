"""Disks that are full, read-only or gone, clocks that jump, locks that are missing, two runs of one name at once."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.chaos.children import WRITES, Board, Children, end_of, side_by_side, start
from benchmarks.chaos.equal_runs import differences, files_of, leftovers
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.small_disks import fill, free, may_mount, remount, small_disk
from benchmarks.chaos.tiny_commands import Command, commands
from benchmarks.chaos.tiny_runs import training, warm_up
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint

_OF_COMMANDS = 4
_DAY = 24 * 3600.0
_NOBODY = 65534
_EVENTS = "events.out.tfevents"
_PASSING = "iteration_00000002.pt"
"""A checkpoint that later ones replace."""


def run(trial: Trial) -> list[Promise]:
    """Spoil the disk below trainings, and below the other commands."""
    # another user shall get as far as to what is not his
    trial.folder.chmod(0o755)
    pictures = warm_up(trial.folder)
    whole = start(training(pictures, trial.folder / "whole"), trial.folder / "whole.log", trial.folder / "whole")
    assert not any(whole.wait()), whole.log.read_text()
    setting = _Setting(trial, pictures, trial.folder / "whole" / "default", whole.board.changes)
    promises = [_clock(setting), _no_locks(setting), _two_at_once(setting), _vanished(setting)]
    if not may_mount(trial.folder / "probe"):
        untested = Promise("A disk that is full or read-only: not tested, as this user may not mount a tmpfs")
        return [*promises, untested]
    return [_full_below_trainings(setting), *_full_below_commands(setting), _refused(setting), *promises]


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

    def begin(self, runs: Path, log: Path, prepare: Callable[[Board], None] = lambda board: None) -> Children:
        return start(training(self.pictures, runs), log, runs, prepare=prepare)

    def log(self, name: str) -> Path:
        """Name a log that lies on no spoilt disk."""
        return self.trial.folder / f"{name}.log"

    def faults_of_rerun(self, runs: Path, log: Path) -> list[str]:
        """Run the same command again, undisturbed, and say what is wrong then."""
        last = self.begin(runs, log)
        (status,) = last.wait()
        return _failed(status, log) or [*differences(self.whole, runs / "default"), *leftovers(runs)]


def _put_to_the_test(promise: Promise, trials: Mapping[str, Callable[[], list[str]]]) -> Promise:
    """Do trials, two at a time, each of which names what is wrong."""
    for name, found in zip(trials, side_by_side(list(trials.values())), strict=True):
        promise.test(not found, f"{name}: {', '.join(found[:4])}")
    return promise


def _failed(status: int, log: Path) -> list[str]:
    return [f"status {status}: {end_of(log)}"] if status else []


def one_line(log: Path, *words: str) -> list[str]:
    """Say what is wrong with how a command told of its error, where anything is."""
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if "Traceback" in text or len(errors) != 1:
        return [f"{len(errors)} errors told: {end_of(log)}"]
    return [f"says {errors[0]!r}" for word in words if word not in errors[0]]


def _full_below_trainings(setting: _Setting) -> Promise:
    promise = Promise(
        "A training whose disk is full at a file says so in one line, and keeps its last good checkpoint. "
        "Once there is room, the same command goes on and ends equal."
    )
    names = sorted({*(_EVENTS if path.name.startswith(_EVENTS) else path.name for path in _files(setting)), _PASSING})
    chosen = sorted(setting.trial.draw().sample(names, setting.trial.count(len(names))))
    promise.figures["files of a training at which it was full"] = len(chosen)
    return _put_to_the_test(promise, {name: partial(_full_at_file, setting, name) for name in chosen})


def _files(setting: _Setting) -> list[Path]:
    # a lock takes no room
    return [path for path in setting.whole.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def _full_at_file(setting: _Setting, name: str) -> list[str]:
    log, kept = setting.log(f"full-{name}"), setting.trial.folder / f"full-{name}.kept"
    with small_disk(setting.trial.folder / f"full-{name}") as place:
        children = setting.begin(place / "runs", log, lambda board: fill_before(place, name, kept))
        (status,) = children.wait()
        # what is full is told, at the latest, by what is written next
        found = one_line(log, str(place), "No space left on device", "make room") if status else ["it ended well"]
        found += [] if status in (0, 2) else [f"status {status}"]
        found += _lost_checkpoints(kept)
        free(place)
        return found + setting.faults_of_rerun(place / "runs", setting.log(f"freed-{name}"))


def fill_before(place: Path, name: str, kept: Path) -> None:
    """Take all room that a disk has left before a file, or what becomes it, is written for the first time.

    Args:
        place: The disk.
        name: Of the file.
        kept: Takes the names of the last checkpoints, C's and the networks', that are there then.
    """
    is_full = False

    def look(event: str, arguments: Sequence[object]) -> None:
        nonlocal is_full
        if event != "open" or is_full or not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        path = arguments[0]
        if isinstance(path, str | os.PathLike) and os.path.basename(path).removeprefix(".").startswith(name):
            is_full = True
            kept.write_text("\n".join(map(str, _last_checkpoints(place))), encoding="utf-8")
            fill(place)

    sys.addaudithook(look)


def _last_checkpoints(folder: Path) -> list[Path]:
    folders = {path.parent for path in folder.rglob("iteration_*.pt")}
    return [max(one.glob("iteration_*.pt")) for one in folders]


def _lost_checkpoints(kept: Path) -> list[str]:
    """Name the checkpoints that were there when the disk was full and cannot be read now."""
    return [f"{path}: lost" for path in map(Path, kept.read_text(encoding="utf-8").splitlines()) if not _is_read(path)]


def _is_read(path: Path) -> bool:
    try:
        return bool(read_checkpoint(path, "chaos"))
    except (UserError, OSError):
        return False


def _full_below_commands(setting: _Setting) -> list[Promise]:
    """Fill the disk at changes of the other commands."""
    return [_full_below(setting, command) for command in commands(setting.trial.folder, setting.pictures)]


def _full_below(setting: _Setting, command: Command) -> Promise:
    promise = Promise(
        f"`{command.name}` on a full disk says so in one line, what was there stays, and it ends once there is room"
    )
    draw = setting.trial.draw()
    short = command.name.split()[0]
    whole = setting.trial.folder / f"whole-{short}"
    # after the last change there is nothing to write
    changes = range(1, max(2, command.run_undisturbed(whole, setting.log(whole.name))))
    chosen = sorted(draw.sample(changes, min(len(changes), setting.trial.count(_OF_COMMANDS))))
    trials = {f"change {at}": partial(_full_at_change, setting, command, whole, at) for at in chosen}
    return _put_to_the_test(promise, trials)


def _full_at_change(setting: _Setting, command: Command, whole: Path, at: int) -> list[str]:
    name = f"{command.name.split()[0]}-{at}"
    log = setting.log(name)
    with small_disk(setting.trial.folder / name) as place:
        out = place / "out"
        out.mkdir()
        command.set_up(out)
        (status,) = command.begin(out, log, lambda board: _fill_at(board, place, at)).wait()
        found = one_line(log, "No space left on device", "make room") if status else []
        found += [] if status in (0, 2) else [f"status {status}"]
        found += command.faults_of_half(out, setting.log(f"{name}-half"))
        free(place)
        return found + command.faults_of_end(whole, out, setting.log(f"{name}-freed"))


def _fill_at(board: Board, place: Path, change: int) -> None:
    count = board.count

    def count_and_fill() -> int:
        number = count()
        if number == change:
            fill(place)
        return number

    board.count = count_and_fill  # type: ignore[method-assign]


def _refused(setting: _Setting) -> Promise:
    promise = Promise(
        "A finished run whose disk is full, read-only or another user's says so in one line, and stays as it was"
    )
    words = {"full": "No space left on device", "read-only": "read-only", "another user's": "give this user the right"}
    return _put_to_the_test(promise, {way: partial(_refused_by, setting, way, words[way]) for way in words})


def _refused_by(setting: _Setting, way: str, words: str) -> list[str]:
    log = setting.log(way)
    with small_disk(setting.trial.folder / way) as place:
        shutil.copytree(setting.whole.parent, place / "runs")
        before = {name: (place / "runs" / name).read_bytes() for name in files_of(place / "runs")}
        if way == "full":
            fill(place)
        elif way == "read-only":
            remount(place, "ro")
        # a run's folder is root's own here
        of_nobody = (lambda board: _be_nobody()) if way == "another user's" else (lambda board: None)
        (status,) = setting.begin(place / "runs", log, of_nobody).wait()
        found = [] if status == 2 else [f"status {status}"]
        found += one_line(log, str(place), words)
        return found + [name for name, content in before.items() if (place / "runs" / name).read_bytes() != content]


def _be_nobody() -> None:
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


def _vanished(setting: _Setting) -> Promise:
    promise = Promise(
        "A training whose folder vanishes says so in one line or ends well, and begins anew once its rest is gone"
    )
    draw = setting.trial.draw()
    moments = sorted(draw.sample(range(1, setting.changes + 1), setting.trial.count(6)))
    return _put_to_the_test(promise, {f"change {at}": partial(_vanished_at, setting, at) for at in moments})


def _vanished_at(setting: _Setting, at: int) -> list[str]:
    runs, log = setting.trial.folder / f"vanished-{at}", setting.log(f"vanished-{at}")
    children = setting.begin(runs, log)
    if children.run_until(lambda board: board.changes >= at):
        shutil.rmtree(runs, ignore_errors=True)
    (status,) = children.wait()
    found = [] if status in (0, 2) else _failed(status, log)
    found += one_line(log) if status == 2 else []
    # what the run has written since is no run: the same command refuses it by name
    shutil.rmtree(runs, ignore_errors=True)
    return found + setting.faults_of_rerun(runs, setting.log(f"again-{at}"))


def _clock(setting: _Setting) -> Promise:
    promise = Promise("A clock that jumps back or ahead changes nothing of what a training leaves")
    jumps = (-_DAY, -3600.0, 3600.0, _DAY)[: setting.trial.count(4)]
    return _put_to_the_test(promise, {f"{jump:.0f} s": partial(_jumped, setting, jump) for jump in jumps})


def _jumped(setting: _Setting, seconds: float) -> list[str]:
    runs = setting.trial.folder / f"clock{seconds:.0f}"

    def prepare(board: Board) -> None:
        now = time.time
        time.time = lambda: now() + (seconds if board.changes >= setting.changes // 2 else 0.0)

    (status,) = setting.begin(runs, log := setting.log(runs.name), prepare).wait()
    return _failed(status, log) or differences(setting.whole, runs / "default")


def _no_locks(setting: _Setting) -> Promise:
    promise = Promise("A training on a disk without locks runs as on another one")
    missing = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)[: setting.trial.count(3)]
    return _put_to_the_test(promise, {errno.errorcode[one]: partial(_without_locks, setting, one) for one in missing})


def _without_locks(setting: _Setting, number: int) -> list[str]:
    runs = setting.trial.folder / f"locks{number}"

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    def prepare(board: Board) -> None:
        fcntl.lockf = refuse

    (status,) = setting.begin(runs, log := setting.log(runs.name), prepare).wait()
    return _failed(status, log) or differences(setting.whole, runs / "default")


def _two_at_once(setting: _Setting) -> Promise:
    promise = Promise("Of two runs of one name started at once one trains, and the other one says so in one line")
    numbers = range(setting.trial.count(6))
    return _put_to_the_test(promise, {f"pair {number}": partial(_twice, setting, number) for number in numbers})


def _twice(setting: _Setting, number: int) -> list[str]:
    runs = setting.trial.folder / f"twice{number}"
    both = [setting.begin(runs, setting.log(f"twice{number}-{one}")) for one in range(2)]
    statuses = [children.wait()[0] for children in both]
    if sorted(statuses) != [0, 2]:
        return [f"statuses {statuses}: {[end_of(one.log) for one in both]}"]
    found = one_line(both[statuses.index(2)].log, "another process works in")
    return found + differences(setting.whole, runs / "default")
