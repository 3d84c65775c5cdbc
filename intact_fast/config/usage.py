"""What each command needs, in one line; nothing slow is imported for it."""

from __future__ import annotations

from typing import NamedTuple


class _Usage(NamedTuple):
    words: str
    """What follows the command's name."""
    needs: str
    """What it cannot run without; empty where the name is enough, or where everything else has a default."""


_USAGES = {
    "train": _Usage("[--preset fast] [--data.dataset NAME --data.root FOLDER] [options]", ""),
    "evaluate": _Usage("(--checkpoint FILE | --critic FILE) [options]", "--checkpoint or --critic"),
    "report": _Usage("RUN [options]", "RUN, the folder of a run"),
    "enhance": _Usage("SOURCE TARGET --model FILE [options]", "SOURCE and TARGET, each a folder or a file"),
    "search": _Usage("--query PICTURES --gallery FOLDER --model FILE [options]", ""),
    "embed": _Usage("PICTURES OUT --model FILE [options]", "PICTURES and OUT, a file x.parquet or a folder"),
    "export": _Usage("--out FILE (--model FILE | --checkpoint FILE) [options]", "--out, and --model or --checkpoint"),
    "experiments": _Usage("(--table N | --recipes NAME ...) [options]", "--table, --recipes or --list"),
    "calibrate": _Usage("MODEL --out FILE [--data.manifest FILE | --data.root FOLDER] [options]", "MODEL and --out"),
    "prepare": _Usage("[DATASET] --out FILE [--data.root FOLDER] [options]", "--out"),
}


def usage_line(program: str) -> str:
    """Give the usage of a command in one line.

    Args:
        program: As a user calls it; its last word is looked up, and what is unknown takes options.
    """
    name = program.split()[-1]
    return f"usage: {program} {_USAGES[name].words if name in _USAGES else '[options]'}"


def lacking(command: str) -> str | None:
    """Say what a command that was given alone lacks; None where it can run so."""
    usage = _USAGES.get(command)
    if usage is None or not usage.needs:
        return None
    return f"{command} needs {usage.needs}; intact-fast {command} --help describes all options"
