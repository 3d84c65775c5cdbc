"""The parser's complaints in the one line that every mistake of a user gets."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

from intact_fast.config.usage import usage_line
from intact_fast.errors import UserError

_FRAME = "─│╭╮╰╯├┤-|+"
_NAME = re.compile(r" {4}(?=\S)")
_NUMBER = re.compile(
    r"Error parsing (?P<option>--\S+): (?:invalid literal for (?P<kind>int\(\)) with base 10|could not convert string "
    r"to float): '(?P<word>.*?)'"
)
_MISTAKE = 2


@contextlib.contextmanager
def in_one_line(program: str) -> Iterator[None]:
    """Turn what the parser prints before it ends with status 2 into a user error; help passes.

    Args:
        program: Whose command line is parsed.

    Raises:
        UserError: The command line is wrong; in place of SystemExit.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code != _MISTAKE:
            raise
        raise UserError(_one_line(said.getvalue(), program)) from None


def _one_line(text: str, program: str) -> str:
    """Join the first section of a box; where something is missing its names are enough."""
    title, *rows = text.splitlines() or [""]
    lines: list[str] = []
    for row in rows:
        # where the terminal knows no lines the frame is made of blanks
        inner = row[2:-1].rstrip()
        if inner.strip(_FRAME + " "):
            lines.append(inner)
        elif lines:
            break
    missing = [_NAME.sub("", line) for line in lines if _NAME.match(line)]
    if "Required" in title and missing:
        return f"{', '.join(missing)}: missing; {program} --help describes all options\n{usage_line(program)}"
    said = " ".join(line.strip() for line in lines) or title
    if wrong := _NUMBER.search(said):
        kind = "a whole number" if wrong["kind"] == "int()" else "a number"
        said = f"{wrong['option']} {wrong['word']}: must be {kind}"
    return f"{said.rstrip('.')}; {program} --help describes all options"
