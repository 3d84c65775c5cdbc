"""Conditions as a user writes them (`camera != 3 and time > '2024-01-01'`), as SQL with types."""

from __future__ import annotations

import re

from intact_fast.errors import UserError
from intact_fast.serving.gallery.columns import MEASURED, STAMP, TEXT, time_of
from intact_fast.serving.gallery.store import sql_text

_TOKEN = re.compile(r"\s+|'(?:[^']|'')*'|\"[^\"]*\"|[A-Za-z_]\w*|\d+(?:\.\d+)?|<>|!=|<=|>=|.", re.DOTALL)
_COLUMNS = ("path", *TEXT, "time", *MEASURED, *STAMP)


def typed_condition(where: str) -> str:
    """Give a condition in which numbers beside columns of text are text, and text beside `time` is a time.

    Raises:
        UserError: It compares a column of text by size with a number, or a time cannot be read.
    """
    written: list[str] = []
    column = comparison = ""
    for token in _TOKEN.findall(where):
        small = token.lower()
        if small in _COLUMNS:
            column, comparison = small, ""
        elif small in ("<", ">", "<=", ">=", "between"):
            comparison = small
        elif small in ("=", "!=", "<>", "in"):
            comparison = ""
        elif column in TEXT and token[0].isdigit():
            if comparison:
                raise UserError(f"--where {where}: {column} is text; compare by =, != or IN, or cast({column} AS INT)")
            token = sql_text(token)
        elif small == "as":
            # the rest of a cast is typed by its writer
            column = ""
        elif column == "time" and token[0] in "'\"" and not "".join(written).rstrip().lower().endswith("timestamp"):
            moment = time_of(token[1:-1], f"--where {where}")
            token = f"timestamp '{moment.isoformat(' ') if moment else ''}'"
        written.append(token)
    return "".join(written)
