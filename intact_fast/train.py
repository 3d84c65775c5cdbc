"""Training entry: ``torchrun --standalone -m intact_fast.train`` or ``intact-fast train``."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from functools import partial

from intact_fast.training.distributed.cpu_threads import prepare_openmp, use_cores

if __name__ == "__main__":
    # before what follows imports PyTorch
    prepare_openmp()

from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_config
from intact_fast.config.command_line import parse_config
from intact_fast.config.options import Config
from intact_fast.errors import UserError, fail, is_first_rank
from intact_fast.experiments.beside import recipes_beside, set_beside
from intact_fast.tallies import warn_tallies
from intact_fast.terminal import print_any_character
from intact_fast.training.distributed.process import Interrupted, process_group
from intact_fast.training.distributed.signals import signals_as_interrupt
from intact_fast.training.run import Run

DESCRIPTION = (
    "Train INTACT: the identity critic, then the alternating training of G, D and the association, then the "
    "cross-resolution evaluation. Without options it draws its own data set and takes the preset that fits "
    "the machine. The same command resumes an interrupted run."
)


def main(arguments: Sequence[str] | None = None, program: str = "torchrun --standalone -m intact_fast.train") -> int:
    """Run one training from the command line.

    Args:
        arguments: Command line without the program; None takes the process's own.
        program: Name for ``--help``.

    Returns:
        Exit status: 0 when done or stopped with its state saved, 2 after a user error, 130 when
        interrupted outside the training loops.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        config = _parse(arguments, program)
        check_config(config)
        beside = recipes_beside(config)
        with process_group(config.device) as process, signals_as_interrupt():
            shown = partial(progress, quiet=not process.is_main)
            evaluation = Run(config, process, shown).execute()
            if beside:
                set_beside(config, beside, evaluation, process, shown)
    except Interrupted:
        return 0
    except KeyboardInterrupt:
        if is_first_rank():
            print("Interrupted; run the same command to go on.", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        return fail(error, debug)
    finally:
        warn_tallies()
    return 0


def _parse(arguments: Sequence[str], program: str) -> Config:
    """Parse the command line; only rank 0 prints help and complaints."""
    if is_first_rank():
        return parse_config(arguments, program, DESCRIPTION)
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        return parse_config(arguments, program, DESCRIPTION)


if __name__ == "__main__":
    print_any_character()
    use_cores()
    sys.exit(main())
