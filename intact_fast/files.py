"""Files: written so that a reader never sees half of one, read without running code."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from intact_fast.errors import UserError, cannot_write, mistake_of
from intact_fast.foreign_files import describe_file, load_plain
from intact_fast.unfinished import sweep_once, temporary_beside

LOCK = ".lock"
"""Name of the file by which a process keeps a folder to itself."""

_PROBE = 1 << 16
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success flush it to disk and rename it.

    Args:
        path: Final place; an older file there is replaced only when the new one is complete.

    Yields:
        The temporary path to write to.

    Raises:
        UserError: It cannot be written; what was there before stays, and no half of the new one.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        status = temporary.stat()
        sweep_once(path.parent, status.st_mtime)
        yield temporary
        # safetensors puts a file in its place that its owner alone can read; some mounts know no modes
        if temporary.stat().st_mode != status.st_mode:
            temporary.chmod(status.st_mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except UserError:
        raise
    # libraries say by any exception that a disk is full
    except Exception as error:
        reason = _system_error(error, temporary)
        if reason is None:
            raise
        raise cannot_write(path, reason) from error
    finally:
        # where it could not be made, it cannot be removed either
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _system_error(error: Exception, temporary: Path) -> OSError | None:
    """Find what the operating system has against a file that a library could not write; None where it has nothing.

    PyTorch and Pillow do not hand on what the system said: it says it again.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    # Rust's libraries put the number into their text
    if said := _RUST_ERROR.search(str(error)):
        number = int(said[1])
        return OSError(number, os.strerror(number))
    try:
        with temporary.open("ab") as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as found:
        return found
    return None


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file, all of it or nothing.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(before)
            raise


def check_writable(path: Path, option: str, folder: bool = False) -> None:
    """See before hours of work that a file can be written; nothing is left behind.

    Args:
        path: The file, or the folder of files.
        option: How the user named it, for the error.
        folder: Whether it is a folder.

    Raises:
        UserError: It cannot.
    """
    try:
        if path.is_dir() and not folder:
            raise UserError(f"{option} {path}: is a folder; name a file")
        place = path if folder else path.parent
        # a link to nowhere is in the way, too
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
        # a name too long for its disk
        path.exists()
    except OSError as error:
        raise cannot_write(path, error, option) from error


def save_picture(image: Image.Image, path: Path, file_format: str, **options: Any) -> None:
    """Write a picture atomically.

    Args:
        image: The picture.
        path: Final place.
        file_format: Pillow's name of it.
        **options: For Pillow's writer of that format.

    Raises:
        UserError: It cannot be written.
    """
    content = picture_bytes(image, file_format, **options)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def picture_bytes(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """Encode a picture in memory: Pillow takes a write that a full disk cut short for a whole one."""
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


@contextmanager
def exclusive_folder(folder: Path, option: str) -> Iterator[None]:
    """Keep other processes of ours out of a folder; the system forgets it when this process ends, however it ends.

    Where the file system has no locks, as some network ones, nobody is kept out.

    Args:
        folder: Made where it is missing.
        option: How the user named it, for the error.

    Raises:
        UserError: Another process is in it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder, error, option) from error
    # a lock of the process, not of the open file, which forked loader processes would inherit
    with lock as file:
        if not _locked(file):
            raise UserError(f"{option}: another process works in {folder}; wait for it, or use another --name")
        yield


@contextmanager
def one_at_a_time(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process of ours is inside for the same path, and stay there alone.

    Where the file system has no locks nobody waits.

    Args:
        path: What is made there; the lock is a file beside it.
        on_wait: Called where there is another one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}{LOCK}").open("w", encoding="utf-8") as file:
        if not _locked(file):
            on_wait()
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _locked(file: TextIO) -> bool:
    """Lock a file, unless another process has; where there are no locks it counts as locked."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds, by which a file that was replaced is seen."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def is_leftover(path: Path) -> bool:
    """Say whether a file is no content of its folder: a lock, or half of an atomic write."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(".tmp"))


class UnreadableCheckpoint(UserError):
    """A file that is there holds no checkpoint: it is broken, or something else."""


def read_checkpoint(path: Path, option: str) -> dict[str, Any]:
    """Load a dictionary onto the CPU; pickled code is never run.

    Args:
        path: The file.
        option: Name of the option that the user gave it by, for the error.

    Raises:
        UnreadableCheckpoint: The file is broken, or holds more than tensors and plain values.
        UserError: It is missing, or the system does not let it be read.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name the file in it")
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file")
    try:
        state = load_plain(path)
    # a broken or foreign file can fail anywhere inside the unpickler, with any exception
    except Exception as error:
        mistake = mistake_of(error) if isinstance(error, OSError) else None
        raise mistake or UnreadableCheckpoint(
            f"{option} {path}: not a readable checkpoint: {describe_file(path)}"
        ) from error
    if not isinstance(state, dict):
        raise UnreadableCheckpoint(
            f"{option} {path}: holds a {type(state).__name__}, not a checkpoint; give another file"
        )
    return state
