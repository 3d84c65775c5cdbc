"""Files and folders on their way to a final name, and the end of those whose writer was killed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

_LONGEST_NAME = 200
_NAME = re.compile(r"\..+\.(?P<place>[0-9a-f]{8})\.(?P<process>[0-9]{1,9})\.tmp", re.DOTALL)
_LONGEST_WRITE = 24 * 3600.0
_swept: set[Path] = set()
os.register_at_fork(after_in_child=_swept.clear)


def temporary_beside(path: Path) -> Path:
    """Name what this process writes before it gets the name ``path``; a very long name has no room for more."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}{own_suffix()}")


def own_suffix() -> str:
    """Give how names end of what this process has not finished; they begin with a dot."""
    return f".{_place()}.{os.getpid()}.tmp"


def sweep_once(folder: Path, now: float) -> None:
    """Remove what killed processes have left half written in a folder, once for each process and folder.

    What the system says of a process decides where it can: the writer ran on this machine since it was started, in this
    container. Elsewhere a day without a change does. What another process is writing stays.

    Args:
        folder: Where this process is about to write.
        now: Time of the file system's own clock, in seconds.
    """
    if folder.absolute() in _swept:
        return
    _swept.add(folder.absolute())
    # what cannot be listed or removed hinders no write
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.endswith(".tmp")]:
            found = _NAME.fullmatch(name)
            if found is not None:
                _remove_if_left(folder / name, found["place"], int(found["process"]), now)


def _remove_if_left(path: Path, place: str, process: int, now: float) -> None:
    with suppress(OSError):
        is_left = now - path.lstat().st_mtime > _LONGEST_WRITE or (place == _place() and _has_ended(process))
        if not is_left:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _has_ended(process: int) -> bool:
    """Whether a process writes no more; one that is dead, and waited for by nobody, does not."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except ProcessLookupError:
        return True
    # another user's process is one, too; and systems without /proc tell no more
    except OSError:
        return False


@cache
def _place() -> str:
    """Name where a process's number tells one process: this machine since it was started, and this container."""
    started = Path("/proc/sys/kernel/random/boot_id")
    parts = (_or_host(lambda: started.read_text(encoding="ascii")), _or_host(lambda: os.readlink("/proc/self/ns/pid")))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]


def _or_host(read: Callable[[], str]) -> str:
    try:
        return read()
    except OSError:
        return socket.gethostname()
