"""JSON as every reader takes it: the one place that writes it."""

from __future__ import annotations

import json
import math
from typing import Any


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
