"""JSON that every reader takes."""

from __future__ import annotations

import ast
import json
import math
import os
from pathlib import Path

import numpy as np

from intact_fast import json_text
from intact_fast.json_text import to_json

PACKAGE = Path(json_text.__file__).parent


def refuse(constant: str) -> None:
    raise AssertionError(f"JSON holds {constant}")


def test_what_is_no_finite_number_is_null() -> None:
    values = {"a": math.nan, "b": [1.5, -math.inf], "c": ({"d": math.inf},), "e": np.float64("nan"), "f": 2}
    text = to_json(values)
    assert json.loads(text, parse_constant=refuse) == {
        "a": None,
        "b": [1.5, None],
        "c": [{"d": None}],
        "e": None,
        "f": 2,
    }


def test_finite_values_are_written_as_ever() -> None:
    values = {"b": [1, 0.1, True, None], "a": {"x": "é"}}
    assert to_json(values) == json.dumps(values)
    assert to_json(values, indent=1, sort_keys=True) == json.dumps(values, indent=1, sort_keys=True)
    assert to_json(values, separators=(",", ":")) == json.dumps(values, separators=(",", ":"))


def test_a_name_that_is_no_unicode_comes_back() -> None:
    name = b"caf\xe9 \xff.jpg"
    text = to_json([os.fsdecode(name)])
    assert text.isascii()
    assert os.fsencode(json.loads(text)[0]) == name


def test_nobody_else_writes_json() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name == "json_text.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "json":
                assert node.attr not in ("dump", "dumps"), f"{path}: use json_text.to_json"
