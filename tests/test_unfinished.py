"""What killed processes leave half written goes; what another one is writing stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from intact_fast.data import synthetic
from intact_fast.data.synthetic import SyntheticSpec, write_synthetic
from intact_fast.files import write_atomically
from intact_fast.unfinished import sweep_once, temporary_beside

DAY = 24 * 3600.0


def in_a_child(work: Callable[[], None]) -> int:
    """Fork a child that does something and kills itself; its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    return child


def killed_child(work: Callable[[], None]) -> None:
    _, status = os.waitpid(in_a_child(work), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def write_half(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_half_a_file_of_a_killed_process_goes(tmp_path: Path) -> None:
    killed_child(lambda: write_half(tmp_path / "iteration_00000184.pt"))
    (left,) = names(tmp_path)
    assert left.endswith(".tmp")
    with write_atomically(tmp_path / "other.json") as temporary:
        temporary.write_text("{}")
    assert names(tmp_path) == ["other.json"]


def test_half_a_file_of_a_killed_process_goes_before_anybody_has_waited_for_it(tmp_path: Path) -> None:
    child = in_a_child(lambda: write_half(tmp_path / "notes.json"))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    with write_atomically(tmp_path / "other.json") as temporary:
        temporary.write_text("{}")
    assert names(tmp_path) == ["other.json"]
    os.waitpid(child, 0)


def test_a_forked_process_looks_at_a_folder_anew(tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text("{}")
    sweep_once(tmp_path, time.time())
    killed_child(lambda: write_half(tmp_path / "notes.json"))
    assert len(names(tmp_path)) == 2
    killed_child(lambda: sweep_once(tmp_path, time.time()))
    assert names(tmp_path) == ["first.json"]


def test_a_folder_of_pictures_of_a_killed_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SyntheticSpec(train_identities=1, test_identities=1)

    def draw_one_and_die(spec: SyntheticSpec, pid: int, camera: int, number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "draw_picture", draw_one_and_die)
        killed_child(lambda: write_synthetic(tmp_path, spec))
    assert len(names(tmp_path)) == 1
    write_synthetic(tmp_path, spec)
    assert names(tmp_path) == [spec.folder_name]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    begun, ours = os.pipe(), os.pipe()

    def write_slowly() -> None:
        with write_atomically(tmp_path / "slow") as temporary:
            temporary.write_bytes(b"whole")
            os.write(begun[1], b".")
            os.read(ours[0], 1)
        os.write(begun[1], b".")

    child = in_a_child(write_slowly)
    os.read(begun[0], 1)
    with write_atomically(tmp_path / "quick") as temporary:
        temporary.write_bytes(b"")
    os.write(ours[1], b".")
    os.read(begun[0], 1)
    os.waitpid(child, 0)
    assert names(tmp_path) == ["quick", "slow"]
    assert (tmp_path / "slow").read_bytes() == b"whole"


@pytest.mark.parametrize(("age", "stays"), [(-DAY, True), (0.9 * DAY, True), (1.1 * DAY, False)])
def test_another_machine_has_a_day(tmp_path: Path, age: float, stays: bool) -> None:
    """Nobody here can ask whether its process lives; a clock that was set back makes nothing old."""
    theirs = tmp_path / ".a.pt.0123abcd.17.tmp"
    theirs.touch()
    now = time.time()
    os.utime(theirs, (now - age, now - age))
    sweep_once(tmp_path, now)
    assert theirs.exists() == stays


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = [".a.tmp", ".a.17.tmp", "a.0123abcd.17.tmp", ".a.0123abcd.17.tmp.bak", temporary_beside(Path("b")).name]
    for name in others:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    # its own process writes on
    os.utime(tmp_path / others[-1])
    sweep_once(tmp_path, time.time())
    assert names(tmp_path) == sorted(others)
