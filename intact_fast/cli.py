"""The console script ``intact-fast``."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import intact_fast
from intact_fast.config.usage import lacking, usage_line
from intact_fast.errors import UserError, fail
from intact_fast.tallies import warn_tallies
from intact_fast.terminal import print_any_character
from intact_fast.training.distributed.cpu_threads import prepare_openmp, use_cores

COMMANDS = {
    "train": "train and evaluate, one process",
    "evaluate": "evaluate a critic or a training checkpoint",
    "report": "write a run's report again, with curves and thresholds",
    "enhance": "super-resolve pictures",
    "search": "find a person's pictures in a gallery",
    "calibrate": "measure a model's thresholds on labelled pictures",
    "embed": "write features of pictures with their columns as Parquet",
    "export": "write SR and re-id as ONNX or a PyTorch graph",
    "experiments": "run the rows of a table of the paper, or other recipes",
    "prepare": "write the split manifest of a data set",
}
"""What each command does, by its name."""

_HELP = ("-h", "--help", "help")
_MISTAKE = 2
_BROKEN_PIPE = 128 + 13
"""Exit status of a program that SIGPIPE ended, as shells give it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and end without a word where the reader of its output, such as ``head``, has seen enough."""
    print_any_character()
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
    name, *others = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in _HELP and others and others[0] not in _HELP:
        # `help COMMAND` is `COMMAND --help`
        name, others = others[0], ["--help"]
    if name in COMMANDS:
        return _run(name, others)
    if name in _HELP:
        lines = [f"  {command:<11} {summary}" for command, summary in COMMANDS.items()]
        foot = ["", "intact-fast COMMAND --help describes a command, intact-fast --version names the version."]
        print("\n".join(["usage: intact-fast COMMAND [options]", "", "commands:", *lines, *foot]))
        return 0
    if name in ("-V", "--version", "version"):
        print(f"intact-fast {intact_fast.__version__}")
        return 0
    return fail(UserError(_unknown(name)), debug=False)


def _unknown(name: str) -> str:
    """Say that there is no such command, and which one may be meant."""
    if name.startswith("-"):
        return f"{name}: an option follows a command (intact-fast COMMAND {name}); use one of {', '.join(COMMANDS)}"
    close = get_close_matches(name.lower(), COMMANDS, 1)
    asked = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown command {name!r}{asked}; use one of {', '.join(COMMANDS)}"


def _run(name: str, arguments: Sequence[str]) -> int:
    alone = not arguments
    if alone and (text := lacking(name)) is not None:
        return fail(UserError(f"{text}\n{usage_line(f'intact-fast {name}')}"), debug=False)
    status = _import_and_run(name, arguments)
    if alone and status == _MISTAKE:
        # its defaults, such as the folder gallery/ of search, are not here
        print(usage_line(f"intact-fast {name}"), file=sys.stderr)
    return status


def _import_and_run(name: str, arguments: Sequence[str]) -> int:
    prepare_openmp()
    # imported only now: PyTorch and what draws take seconds, which --help need not wait for
    module = importlib.import_module("intact_fast.train" if name == "train" else f"intact_fast.commands.{name}")
    use_cores()
    try:
        return module.main(arguments, "intact-fast train") if name == "train" else module.main(arguments)
    finally:
        warn_tallies()


if __name__ == "__main__":
    sys.exit(main())
