"""Tables of figures that a record derives from its courses: its field `derived`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY, LABELS, MINUS, number


def derived_block(call: Call) -> str:
    """Write a table of a record's `derived`: ``derived RECORD TABLE [rows=a,b] [digits=2] [first=TITLE]``.

    ``TABLE`` maps the name of a row to figures by the title of their column. A list holds one figure a seed.
    """
    record, name = call.words
    found: Mapping[str, Mapping[str, Any]] = records.read(record)["derived"][name]
    rows = {row: found[row] for row in call.listed("rows") or found}
    titles = list(dict.fromkeys(title for row in rows.values() for title in row))
    digits = int(call.options["digits"]) if "digits" in call.options else None
    lines = [[_name(row), *(_cell(figures.get(title), digits) for title in titles)] for row, figures in rows.items()]
    return table([call.options.get("first", ""), *titles], lines, 1)


def _name(row: str) -> str:
    return f"`{row}`" if row in LABELS else row


def _cell(value: Any, digits: int | None) -> str:
    if value is None:
        return EMPTY
    if isinstance(value, list):
        return ", ".join(_cell(part, digits) for part in value)
    if isinstance(value, float):
        return number(value, digits) if digits is not None else f"{Decimal(repr(value)):f}".replace("-", MINUS)
    return str(value).replace("-", MINUS) if isinstance(value, int) else str(value)
