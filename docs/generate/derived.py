"""Tables of what was computed from trainings: differences between rows and derived figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY, MINUS, gain, number, title


def gains_block(call: Call) -> str:
    """List differences of single-shot Rank-1: ``gains RECORD "ROW over ROW" …``, in the order given."""
    name, *pairs = call.words
    rows = records.read(name)["rows"]
    lines = []
    for pair in pairs:
        row, other = pair.split(" over ")
        lines.append([title(row, rows[row]), title(other, rows[other]), gain(rows[row], other)])
    return table(["row", "held against", "single-shot Rank-1, paired"], lines, 2)


def derived_block(call: Call) -> str:
    """Write a table of a record's ``derived``: ``derived RECORD KEY [first=TITLE] [value=TITLE] [digits=N]``.

    A nested entry has a line for each key and a column for each inner key, a flat one has one column.
    """
    name, key = call.words
    record = records.read(name)
    found = record["derived"][key]
    nested = {line: inner if _is_line(inner) else {"": inner} for line, inner in found.items()}
    columns = list(dict.fromkeys(column for inner in nested.values() for column in inner))
    rows = record.get("rows", {})
    digits = int(call.options["digits"]) if "digits" in call.options else None
    lines = [
        [title(line, rows[line]) if line in rows else line, *(cell(inner.get(column), digits) for column in columns)]
        for line, inner in nested.items()
    ]
    head = [call.options.get("first", ""), *(column or call.options.get("value", key) for column in columns)]
    return table(head, lines, 1)


def cell(value: Any, digits: int | None = None) -> str:
    """Write a derived figure: a text, a number, a range of two numbers, or a difference with its interval.

    Args:
        value: The figure.
        digits: Decimals of a number that is not whole; as it stands in the record without it.
    """
    if value is None:
        return EMPTY
    if isinstance(value, Mapping):
        return gain({"gains": {"other": value}}, "other")
    if isinstance(value, list):
        return " to ".join(cell(end, digits) for end in value)
    if isinstance(value, float) and digits is not None:
        return number(value, digits)
    return str(value).replace("-", MINUS) if isinstance(value, int | float) else str(value)


def _is_line(value: Any) -> bool:
    return isinstance(value, Mapping) and "points" not in value
