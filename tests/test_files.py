"""Files that cannot be written: one line with the file and the remedy, and no half of one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from conftest import as_nobody
from intact_fast.data.synthetic import SyntheticSpec, write_synthetic
from intact_fast.errors import UserError, fail
from intact_fast.files import append_whole, check_writable, exclusive_folder, save_picture, write_atomically


def write(path: Path, content: bytes = b"content") -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EDQUOT, "make room there"),
        (errno.EFBIG, "make room there"),
        (errno.EACCES, "give this user the right to it"),
        (errno.EPERM, "give this user the right to it"),
        (errno.EROFS, "read-only; name another one"),
        (errno.EIO, "see that the place exists and its disk works"),
        (errno.ESTALE, "see that the place exists and its disk works"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_every_reason_has_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")

    def refuse(file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError) as failed:
        write(tmp_path / "a.bin")
    assert str(failed.value).startswith(f"{tmp_path / 'a.bin'}: cannot be written ({os.strerror(number)}); ")
    assert remedy in str(failed.value)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/proc/folder/a", "No such file or directory"),
        ("file/a", "File exists"),
        ("file/b/a", "Not a directory"),
        ("folder", "Is a directory"),
        ("loop/a", "File exists"),
        ("a" * 300, "File name too long"),
        ("a" * 300 + "/b", "File name too long"),
    ],
)
def test_impossible_places(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=reason):
        write(tmp_path / path)
    with pytest.raises(UserError, match=r"--out .*: (cannot be written|is a folder)"):
        check_writable(tmp_path / path, "--out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "below" / "a.bin", "--out")
    check_writable(tmp_path / "new", "--out", folder=True)
    assert not list(tmp_path.iterdir())


def test_names_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".png")
    write(path)
    assert path.read_bytes() == b"content"


def test_nobody_has_the_right() -> None:
    with as_nobody() as folder:
        place = folder / "runs" / "a.bin"
        for attempt in (lambda: write(place), lambda: check_writable(place, "--out")):
            with pytest.raises(UserError, match=r"runs/a\.bin: cannot be written \(Permission denied.*the right"):
                attempt()
        with (
            pytest.raises(UserError, match=r"--name x .*runs: cannot be written \(Permission denied"),
            exclusive_folder(folder / "runs", "--name x"),
        ):
            pass
        with pytest.raises(UserError, match=r"--data\.root .*cannot be written \(Permission denied"):
            write_synthetic(folder, SyntheticSpec(train_identities=1, test_identities=1))


def noise(size: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_picture_on_a_full_disk(tiny_disk: Path, suffix: str) -> None:
    """Pillow wrote half a JPEG without an error."""
    save_picture(noise(32), tiny_disk / "finished", suffix)
    with pytest.raises(UserError, match=r"half: cannot be written \(No space left on device\); make room"):
        save_picture(noise(600), tiny_disk / "half", suffix)
    assert [path.name for path in tiny_disk.iterdir()] == ["finished"]
    Image.open(tiny_disk / "finished").load()


def test_libraries_on_a_full_disk(tiny_disk: Path) -> None:
    """Neither PyTorch nor safetensors raises OSError."""
    tensors = {"a": torch.rand(100_000)}
    for save in (torch.save, save_file):
        with (
            pytest.raises(UserError, match=r"a\.bin: cannot be written \(No space left on device"),
            write_atomically(tiny_disk / "a.bin") as temporary,
        ):
            save(tensors, temporary)
        assert not list(tiny_disk.iterdir())


def test_drawn_pictures_on_a_full_disk(tiny_disk: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.root .*cannot be written \(No space left on device\); make room"):
        write_synthetic(tiny_disk, SyntheticSpec())
    assert not list(tiny_disk.iterdir())


def test_a_programs_mistake_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_atomically(tmp_path / "a.bin"):
        _ = 1 // 0
    with pytest.raises(ConnectionResetError):
        fail(ConnectionResetError(errno.ECONNRESET, "reset"), debug=False)


def test_appends_all_or_nothing(tiny_disk: Path) -> None:
    path = tiny_disk / "log"
    append_whole(path, b"line\n")
    with pytest.raises(OSError, match="No space"):
        append_whole(path, bytes(1 << 20))
    append_whole(path, b"line\n")
    assert path.read_bytes() == b"line\nline\n"


_LIMITED = """
import resource, sys
from pathlib import Path
import torch
from intact_fast.errors import UserError, fail
from intact_fast.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with write_atomically(Path(sys.argv[1])) as temporary:
        torch.save({"a": torch.rand(100_000)}, temporary)
except UserError as error:
    sys.exit(fail(error, False))
"""


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "a.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path / 'a.pt'}: cannot be written (File too large); make room there, or name another place, and "
        "run the command again\n"
    )
    assert not list(tmp_path.iterdir())
