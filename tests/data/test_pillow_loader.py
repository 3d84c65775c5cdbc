"""The processes that read pictures with Pillow."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.loader_cases import (
    CONFIG,
    assert_identical,
    loader_of,
    take,
)
from intact_fast.data import pillow_loader
from intact_fast.data.degradation import read_image
from intact_fast.data.shared_memory import Workers, fit_workers
from intact_fast.errors import UserError


def test_workers_give_what_this_process_gives(pictures: list[Path]) -> None:
    # torch's thread pool and a process group are running when the workers fork
    torch.randn(256, 256) @ torch.randn(256, 256)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.distributed.all_reduce(torch.ones(3))
        parallel = take(loader_of(pictures, replace(CONFIG, threads=2, pad=3)), 10)
    finally:
        torch.distributed.destroy_process_group()
    for a, b in zip(parallel, take(loader_of(pictures, replace(CONFIG, pad=3)), 10), strict=True):
        assert_identical(a, b)


def test_workers_never_finalise_what_the_trainer_owned(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A DALI pipeline left as garbage made a worker wait for ever for threads that it did not have."""

    class Owned:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    def read(path: Path) -> Image.Image:
        gc.collect()
        return read_image(path)

    monkeypatch.setattr(pillow_loader, "read_image", read)
    gc.collect()
    gc.disable()
    try:
        Owned()
        take(loader_of(pictures, replace(CONFIG, threads=2)), 1)
    finally:
        gc.enable()
    gc.collect()
    assert [path.name for path in tmp_path.iterdir() if path.name.isdecimal()] == [str(os.getpid())]


MIB = 1 << 20


def with_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int, total: int | None = None) -> None:
    usage = (total or free, (total or free) - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(*usage))


@pytest.mark.parametrize(
    ("free", "processes", "prefetch"), [(24 << 10, 8, 3), (200, 8, 3), (100, 8, 1), (64, 0, 3), (0.01, 0, 3)]
)
def test_workers_are_fitted_into_shared_memory(
    monkeypatch: pytest.MonkeyPatch, free: float, processes: int, prefetch: int
) -> None:
    """Batches of 32 pictures at 256×128, HR and LR: 8 processes that read 3 ahead hold 25 of 6 MiB, as measured."""
    with_shared_memory(monkeypatch, int(free * MIB))
    fitted = fit_workers(8, 3, 6 * MIB)
    assert (fitted.processes, fitted.prefetch) == (processes, prefetch)
    assert (fitted.warning is None) == (free >= 200)


def test_what_is_said_of_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with_shared_memory(monkeypatch, 64 * MIB)
    assert fit_workers(8, 1, 6 * MIB).warning == (
        "/dev/shm has 58 MiB for this process, its readers want 60 MiB: 8 threads read instead of processes, which can "
        "be slower; give it more (docker run --shm-size=1g)"
    )
    assert "want 72 MiB: they read fewer batches ahead; give it more" in str(fit_workers(5, 2, 6 * MIB).warning)


def test_processes_of_a_group_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_shared_memory(monkeypatch, 128 * MIB)
    assert fit_workers(4, 2, 6 * MIB).processes == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert fit_workers(4, 2, 6 * MIB).processes == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_give_what_processes_give(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: int
) -> None:
    config = replace(CONFIG, threads=threads, pad=3)
    expected = take(loader_of(pictures, config), 10)
    assert capsys.readouterr().err == ""
    with_shared_memory(monkeypatch, 10)
    for a, b in zip(expected, take(loader_of(pictures, config), 10), strict=True):
        assert_identical(a, b)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: --data.threads {threads}: /dev/shm has 0 MiB for this process, its readers want")
    assert said.count("\n") == 1


def test_threads_raise_what_is_wrong_with_a_picture(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_shared_memory(monkeypatch, 10)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    before = threading.active_count()
    with pytest.raises(UserError, match=r"broken\.jpg"):
        take(loader_of([*pictures, tmp_path / "broken.jpg"], replace(CONFIG, threads=2)), 20)
    assert threading.active_count() == before, "nobody reads on"


def test_a_killed_worker_is_named(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a machine that is short of memory."""

    def read(path: Path) -> Image.Image:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(pillow_loader, "read_image", read)
    with pytest.raises(UserError, match=r"--data\.threads 1: the system has ended a process .*memory or /dev/shm is"):
        take(loader_of(pictures, replace(CONFIG, threads=1)), 1)


_SMALL = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from data.loader_cases import CONFIG, loader_of, take
config = replace(CONFIG, threads=2, height=256, width=128)
print(len(take(loader_of(sorted(Path(sys.argv[1]).iterdir()), config), 6)))
"""


@pytest.mark.parametrize(("size", "said"), [("512k", "threads read instead"), ("64m", ""), ("0", "")])
def test_a_real_container(pictures: list[Path], size: str, said: str) -> None:
    """A /dev/shm that is too small ended workers by a bus error."""
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    command = [*prefix, sys.executable, "-c", _SMALL, str(pictures[0].parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    assert said in done.stderr
    assert (done.stderr == "") == (said == "")


def test_a_machine_without_locks_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(method: str) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("multiprocessing.get_context", refuse)
    assert fit_workers(2, 1, 1) == Workers(
        0,
        1,
        "/dev/shm cannot be used: 2 threads read instead of processes, which can be slower; give it more (docker run "
        "--shm-size=1g)",
    )
