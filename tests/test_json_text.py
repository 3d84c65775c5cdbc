"""JSON that every reader takes."""

from __future__ import annotations

import ast
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.chaos.mutations import json_bombs
from intact_fast import json_text
from intact_fast.json_text import from_json, to_json

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


def test_what_is_written_is_read() -> None:
    values = {"a": [1, -0.5, None, True, "é"], "b": {"c": []}}
    assert from_json(to_json(values)) == values
    assert from_json(to_json(values).encode()) == values


def test_levels_that_somebody_means_are_read() -> None:
    assert from_json("[" * 100 + "]" * 100)
    assert len(from_json("[" + "[1, {}], " * 1000 + "3]")) == 1001


@pytest.mark.parametrize("name", sorted(json_bombs().keys() - {"a number", "null"}))
def test_bombs_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(json_bombs()[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_nobody_else_reads_or_writes_json() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name == "json_text.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "json":
                assert node.attr not in ("dump", "dumps", "load", "loads"), f"{path}: use json_text"
