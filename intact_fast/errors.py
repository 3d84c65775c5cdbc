"""The exception for mistakes that a user can mend, its one line on stderr, and warnings."""

from __future__ import annotations

import os
import sys


class UserError(Exception):
    """A mistake in an option, a file or a data set.

    The message is one line that names the option or file and says what to do.

    Attributes:
        one_process: Raised by a single process of a group, so that it is printed whatever the rank.
    """

    one_process = False


def is_first_rank() -> bool:
    """Say whether this process is the one of its torchrun group that talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def warn(text: str) -> None:
    """Print a warning as one line on stderr, once per torchrun group."""
    if is_first_rank():
        print(f"warning: {text}", file=sys.stderr, flush=True)


def fail(error: UserError, debug: bool) -> int:
    """Print a user error as one line, once per torchrun group, and return the exit status.

    Args:
        error: What went wrong.
        debug: Raise it instead, for its traceback.
    """
    if debug:
        raise error
    if error.one_process or is_first_rank():
        print(f"error: {error}", file=sys.stderr, flush=True)
    return 2
