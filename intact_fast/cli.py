"""The console script ``intact-fast``."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence

from intact_fast import train
from intact_fast.commands import enhance, evaluate, experiments, export, prepare, report, search

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (
        lambda arguments: train.main(arguments, "intact-fast train"),
        "train and evaluate, one process",
    ),
    "evaluate": (evaluate.main, "evaluate a critic or a training checkpoint"),
    "report": (report.main, "write a run's report again, with curves and thresholds"),
    "enhance": (enhance.main, "super-resolve pictures"),
    "search": (search.main, "find a person's pictures in a gallery"),
    "export": (export.main, "write SR and re-id as ONNX or a PyTorch graph"),
    "experiments": (experiments.main, "run the rows of a table of the paper, or other recipes"),
    "prepare": (prepare.main, "write the split manifest of a data set"),
}


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
    """Find the command; each has its own ``--help``."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        return COMMANDS[name][0](arguments[1:])
    lines = ["usage: intact-fast COMMAND [options]", "", "commands:"]
    lines += [f"  {command:<11} {summary}" for command, (_, summary) in COMMANDS.items()]
    if name in ("-h", "--help"):
        print("\n".join(lines))
        return 0
    print(f"error: unknown command {name!r}; use one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
