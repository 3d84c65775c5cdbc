"""Mistakes that a user can mend: the exception, its line on stderr, and warnings."""

from __future__ import annotations

import os
import sys


class UserError(Exception):
    """A mistake in an option, a file or a data set.

    The message names the option or file, and the remedy, in one line.

    Attributes:
        one_process: One process of a group raises it alone. It is printed whatever the rank.
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
