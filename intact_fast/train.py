"""Training entry: ``torchrun --standalone -m intact_fast.train`` or ``intact-fast train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from intact_fast.configuration import parse_config
from intact_fast.errors import UserError, fail
from intact_fast.training.distributed import Interrupted, process_group
from intact_fast.training.run import Run

DESCRIPTION = (
    "Train INTACT: the identity critic, then the alternating training of G, D and the association, then the "
    "cross-resolution evaluation. Without options it draws its own data set and takes the preset that fits "
    "the machine. The same command resumes an interrupted run."
)


def main(
    arguments: Sequence[str] | None = None, program: str = "torchrun --standalone -m intact_fast.train"
) -> int:
    """Run one training from the command line.

    Args:
        arguments: Command line without the program; None takes the process's own.
        program: Name for ``--help``.

    Returns:
        Exit status: 0 when done or stopped with its state saved, 2 after a user error.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        config = parse_config(arguments, program, DESCRIPTION)
        with process_group(config.device) as process:
            Run(config, process).execute()
    except Interrupted:
        return 0
    except UserError as error:
        return fail(error, debug)
    return 0


if __name__ == "__main__":
    sys.exit(main())
