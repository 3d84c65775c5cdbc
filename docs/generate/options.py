"""Tables of options, presets and recipes, from the dataclasses that define them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.generate.blocks import Call, table
from intact_fast.config import options as definitions
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS
from intact_fast.experiments.recipes import RECIPES

_PRESETS = ("paper", "fast", "best", "cpu")


def options_block(call: Call) -> str:
    """Write options with their defaults: ``options SECTION``, or ``options essential`` with advice."""
    (section,) = call.words
    if section == "essential":
        return _essential()
    lines = []
    for name, text in _documented(section):
        lines.append([f"`{option(name)}`", _values(name), text])
    return table(["option", "value", "meaning"], lines, 3)


def presets_block(call: Call) -> str:
    """Write what the presets `fast` and `cpu` have different from `paper`: ``presets``."""
    lines = [
        [f"`{option(name)}`", *(_value(name, preset) for preset in _PRESETS)]
        for section in _sections()
        for name, _ in _documented(section)
        if len({_value(name, preset) for preset in _PRESETS}) > 1
    ]
    return table(["option", *(f"`{preset}`" for preset in _PRESETS)], lines, 4)


def recipes_block(call: Call) -> str:
    """Write what each recipe trains and changes: ``recipes``."""
    lines = []
    for name, recipe in RECIPES.items():
        changes = ", ".join(
            f"`{option(key)} {_written(value)}`" for key, value in {**recipe.changes, **recipe.defaults}.items()
        )
        lines.append([f"`{name}`", recipe.description.replace("|", "\\|"), changes or "–"])
    return table(["recipe", "what it is", "changes"], lines, 3)


def _essential() -> str:
    from docs.generate.essential import ESSENTIAL

    lines = [[f"`{option(name)}`", _values(name), advice] for name, advice in ESSENTIAL.items()]
    return table(["option", "value", "advice"], lines, 3)


def option(name: str) -> str:
    """Write a field's dotted name as on the command line."""
    return "--" + name.replace("_", "-")


def _sections() -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(Config)
        if dataclasses.is_dataclass(getattr(PRESETS["paper"], field.name))
    ]


def _values(name: str) -> str:
    """Write the value in preset `paper`, and those of other presets where they differ."""
    first = _value(name, _PRESETS[0])
    others: dict[str, list[str]] = {}
    for preset in _PRESETS[1:]:
        if _value(name, preset) != first:
            others.setdefault(_value(name, preset), []).append(preset)
    differing = "; ".join(f"{', '.join(presets)}: {value}" for value, presets in others.items())
    return f"{first} ({differing})" if differing else first


def _value(name: str, preset: str) -> str:
    found: Any = PRESETS[preset]
    for part in name.split("."):
        found = getattr(found, part)
    return f"`{_written(found)}`"


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _documented(section: str) -> Iterator[tuple[str, str]]:
    """Yield each option of a section and its docstring, which stands below the field."""
    kind = type(getattr(PRESETS["paper"], section)).__name__
    tree = ast.parse(inspect.getsource(definitions))
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind)
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            yield f"{section}.{statement.target.id}", text.replace("|", "\\|")
