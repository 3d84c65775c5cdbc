"""The console script ``intact-fast``."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Sequence

from intact_fast.errors import fail

COMMANDS = {
    "train": "train and evaluate, one process",
    "evaluate": "evaluate a critic or a training checkpoint",
    "report": "write a run's report again, with curves and thresholds",
    "enhance": "super-resolve pictures",
    "search": "find a person's pictures in a gallery",
    "export": "write SR and re-id as ONNX or a PyTorch graph",
    "experiments": "run the rows of a table of the paper, or other recipes",
    "prepare": "write the split manifest of a data set",
}
"""What each command does, by its name."""

_BROKEN_PIPE = 128 + 13
"""Exit status of a program that SIGPIPE ended, as shells give it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and end without a word where the reader of its output, such as ``head``, has seen enough."""
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _lost_reader():
            raise
        return _BROKEN_PIPE
    # a full disk below standard output, say
    except OSError as error:
        return fail(error, debug=False)
    return status


def _lost_reader() -> bool:
    """Whether nobody reads standard output any more; nothing is written there again then, at exit neither."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _dispatch(arguments: Sequence[str] | None) -> int:
    """Run the command that is named; each has its own ``--help``."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        return _run(name, arguments[1:])
    if name in ("-h", "--help"):
        lines = [f"  {command:<11} {summary}" for command, summary in COMMANDS.items()]
        print("\n".join(["usage: intact-fast COMMAND [options]", "", "commands:", *lines]))
        return 0
    print(f"error: unknown command {name!r}; use one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


def _run(name: str, arguments: Sequence[str]) -> int:
    # imported only now: PyTorch and what draws take seconds, which --help need not wait for
    if name == "train":
        return importlib.import_module("intact_fast.train").main(arguments, "intact-fast train")
    return importlib.import_module(f"intact_fast.commands.{name}").main(arguments)


if __name__ == "__main__":
    sys.exit(main())
