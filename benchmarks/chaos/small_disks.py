"""Small disks in memory, which can be filled, freed and made read-only."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = "48m"
_BALLAST = "ballast"


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a tmpfs, for as long as it is needed.

    Raises:
        subprocess.CalledProcessError: This user may not.
    """
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def may_mount(probe: Path) -> bool:
    """Say whether this user may mount one."""
    try:
        with small_disk(probe):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def remount(place: Path, option: str) -> None:
    """Mount a disk otherwise."""
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


def fill(place: Path) -> None:
    """Take all room that a disk has left."""
    with (place / _BALLAST).open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def free(place: Path) -> None:
    """Give back the room that was taken."""
    (place / _BALLAST).unlink(missing_ok=True)
