"""JSON as every reader takes it: the one place that writes it, and the one that reads it."""

from __future__ import annotations

import json
import math
from typing import Any

_DEEPEST = 100
"""Levels of lists and dictionaries; nothing that is ours has more than ten."""


def to_json(
    value: Any, indent: int | None = None, separators: tuple[str, str] | None = None, sort_keys: bool = False
) -> str:
    """Write plain values as JSON in ASCII.

    What is no finite number becomes null: JSON has neither ``NaN`` nor ``Infinity``, and strict readers refuse a file
    that holds one. Bytes in a file's name that are no Unicode become a lone surrogate, from which Python makes the same
    name again.

    Args:
        value: Numbers, text, None, and lists and dictionaries of them.
        indent: Blanks before each level; None writes one line.
        separators: Between items, and between a key and its value.
        sort_keys: Whether keys stand in alphabetical order.
    """
    return json.dumps(_finite(value), indent=indent, separators=separators, sort_keys=sort_keys, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(text: str | bytes) -> Any:
    """Read plain values; what JSON does not have, and what no writer means, is refused.

    Args:
        text: JSON, as bytes in UTF-8.

    Raises:
        ValueError: It is no JSON, holds ``NaN``, ``Infinity`` or a number beyond them, or is nested deeply. The message
            is one line.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except RecursionError as error:
        raise ValueError(f"nested in more than {_DEEPEST} levels") from error
    if text.count("[") + text.count("{") > _DEEPEST:
        _check_depth(value)
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is too large a number")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inner for item in items]
        if not level:
            return
    raise ValueError(f"nested in more than {_DEEPEST} levels")
