"""Mistakes that a user can mend: the exception, its line on stderr, and warnings."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from intact_fast.file_names import on_one_line


class UserError(Exception):
    """A mistake in an option, a file or a data set.

    The message names the option or file, and the remedy, in one line.

    Attributes:
        one_process: One process of a group raises it alone. It is printed whatever the rank.
    """

    one_process = False


_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "make room there, or name another place, and run the command again",
    (errno.EACCES, errno.EPERM): "give this user the right to it, or name another place",
    (errno.EROFS,): "that place is read-only; name another one",
    (errno.ENAMETOOLONG,): "use a shorter name",
    (errno.ENOTDIR, errno.EEXIST, errno.EISDIR): "a file stands where a folder is needed, or the other way round; name "
    "another place",
    (errno.EMFILE, errno.ENFILE): "too few files may be open at a time; raise that limit (ulimit -n), or use fewer "
    "threads",
    (errno.ENOMEM,): "memory is short; end other programs, or use smaller batches and fewer threads",
}
_OTHER_REMEDY = "see that the place exists and its disk works, or name another one"
_NAMELESS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
    errno.ENOMEM,
)
"""What the machine lacks, where the system names no file."""


def cannot_write(path: Path, error: OSError, option: str = "") -> UserError:
    """Say why a file or a folder cannot be written, and what to do.

    Args:
        path: What was to be written.
        error: What the system says, perhaps of a folder above it.
        option: By which the user named it.
    """
    reason = _reason(error)
    if error.filename is not None and os.fspath(error.filename) in map(os.fspath, path.parents):
        reason += f": {error.filename}"
    return UserError(f"{option + ' ' if option else ''}{path}: cannot be written ({reason}); {_remedy(error)}")


def mistake_of(error: OSError) -> UserError | None:
    """Give the user error that an error of the operating system stands for; None where that is no file's."""
    if error.errno is not None and error.filename is not None:
        return UserError(f"{os.fsdecode(error.filename)}: {_reason(error)}; {_remedy(error)}")
    if error.errno in _NAMELESS:
        _give_up_output()
        return UserError(f"standard output, or a file that nobody named: {_reason(error)}; {_remedy(error)}")
    return None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    return next((text for numbers, text in _REMEDIES.items() if error.errno in numbers), _OTHER_REMEDY)


def _give_up_output() -> None:
    """Where standard output takes nothing more, let the rest of it go nowhere, without a word at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_first_rank() -> bool:
    """Say whether this process is the one of its torchrun group that talks to the user."""
    # without a group a RANK is something else's
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def warn(text: str) -> None:
    """Print a warning as one line on stderr, once per torchrun group."""
    if is_first_rank():
        _say(f"warning: {text}")


def tell(text: str) -> None:
    """Print what the user should know as one line on stderr, once per torchrun group."""
    if is_first_rank():
        _say(text)


def fail(error: UserError | OSError, debug: bool) -> int:
    """Print a user error as one line, once per torchrun group, and return the exit status.

    Args:
        error: What went wrong. One of the operating system is raised again where it is no file's.
        debug: Raise it instead, for its traceback.
    """
    if debug:
        raise error
    mistake = mistake_of(error) if isinstance(error, OSError) else error
    if mistake is None:
        raise error
    # what the others do not know of is said by whoever meets it
    if mistake is not error or mistake.one_process or is_first_rank():
        _say(f"error: {mistake}")
    return 2


def _say(text: str) -> None:
    # what is wrong is one line; how a command is used may stand below it
    said, *usage = text.split("\nusage: ", 1)
    line = "\nusage: ".join((on_one_line(said), *usage))
    # on a full disk, or a terminal that has gone, there is nobody to tell; the exit status stays
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
