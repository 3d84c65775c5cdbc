"""Values that others wrote, such as JSON or YAML, as dataclasses: a value of the wrong type is named by its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LONGEST = 60
"""Characters of a wrong value that a message shows."""
_MOST_BITS = 200
"""Of a whole number that a message shows: Python writes none of more than 4,300 digits."""


def read_plain(kind: type[T], value: object, what: str = "") -> T:
    """Build a dataclass, or another type, from plain values.

    Lists become tuples where the type says so, and text becomes paths. A whole number stands for one with decimals.
    Where ``on`` is a choice, True and False stand for ``on`` and ``off``, as YAML reads these words.

    Args:
        kind: A dataclass whose fields have types of the same kind, or one of these: numbers, text, None, `Path`,
            choices, unions, lists, tuples, dictionaries with keys of text, and `Any`.
        value: What a file holds.
        what: Key under which it stands there, for errors; empty for the whole.

    Raises:
        ValueError: A value is of another type, or a key is missing or unknown. The message is one line.
    """
    return _read(kind, value, what)


def _read(kind: Any, value: object, what: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, what)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union(arguments, value, what)
    if origin is Literal:
        return _choice(arguments, value, what)
    if origin in (list, tuple, dict, Mapping):
        return _CONTAINERS[origin](arguments, value, what)
    fits, words = _SIMPLE[kind]
    if not fits(value):
        raise _wrong(value, what, words)
    return Path(value) if kind is Path and isinstance(value, str | PurePath) else value


def _dataclass(kind: Any, value: object, what: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(value, what, "keys with values")
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if not isinstance(name, str) or name not in fields:
            raise ValueError(f"{_key(what, _shown_key(name))}: no such key")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not has_default:
            raise ValueError(f"{_key(what, name)}: missing")
    return kind(**{name: _read(hints[name], one, _key(what, name)) for name, one in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _union(kinds: tuple[Any, ...], value: object, what: str) -> Any:
    others = [kind for kind in kinds if kind is not NoneType]
    if value is None and len(others) < len(kinds):
        return None
    *first, last = others
    for kind in first:
        try:
            return _read(kind, value, what)
        except ValueError:
            continue
    return _read(last, value, what)


def _choice(choices: tuple[Any, ...], value: object, what: str) -> Any:
    if isinstance(value, bool) and "on" in choices:
        value = "on" if value else "off"
    # True equals 1
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise _wrong(value, what, f"one of {', '.join(map(str, choices))}")
    return value


def _list(arguments: tuple[Any, ...], value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, what, "a list")
    return [_read(arguments[0], one, f"{what}[{number}]") for number, one in enumerate(value)]


def _tuple(arguments: tuple[Any, ...], value: object, what: str) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis:
        return tuple(_list(arguments, value, what))
    if not isinstance(value, list | tuple) or len(value) != len(arguments):
        raise _wrong(value, what, f"a list of {len(arguments)} values")
    pairs = zip(arguments, value, strict=True)
    return tuple(_read(kind, one, f"{what}[{number}]") for number, (kind, one) in enumerate(pairs))


def _dict(arguments: tuple[Any, ...], value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _wrong(value, what, "keys with values")
    return {name: _read(arguments[1], one, _key(what, name)) for name, one in value.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_CONTAINERS: dict[Any, Callable[[tuple[Any, ...], object, str], Any]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    Mapping: _dict,
}
_SIMPLE: dict[Any, tuple[Callable[[object], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    float: (_is_number, "a number"),
    str: (lambda value: isinstance(value, str), "text"),
    Path: (lambda value: isinstance(value, str | PurePath) and "\0" not in str(value), "a path"),
    NoneType: (lambda value: value is None, "nothing"),
}
"""What fits a simple type, and how a message calls the type."""


def _wrong(value: object, what: str, wanted: str) -> ValueError:
    return ValueError(f"{what or 'it'} is {shown(value)}, not {wanted}")


def shown(value: object) -> str:
    """Write a value for a message: a short one as it is, and of anything that holds others its kind alone."""
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() < _MOST_BITS else "a huge number"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
    return f"a {type(value).__name__}"


def _shown_key(name: object) -> str:
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= _LONGEST else shown(name)


def _key(what: str, name: str) -> str:
    return f"{what}.{name}" if what else name
