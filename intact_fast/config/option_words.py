"""The words of a command line before they are parsed: names of options, and where a list of values ends."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from intact_fast.errors import UserError

_OF_EVERY_COMMAND = ("--help", "--tyro-print-completion", "--tyro-write-completion")
_SUGGESTIONS = 3


class _Option(NamedTuple):
    """A field that a command line sets.

    Attributes:
        name: As it is written, such as ``--data.root``.
        kind: Type of its value, None left out.
        positional: Whether it is a word without a name.
    """

    name: str
    kind: Any
    positional: bool

    @property
    def item(self) -> Any:
        """Type of the values of a list of any length; None where it is no such list."""
        arguments = get_args(self.kind)
        is_list = get_origin(self.kind) is tuple and arguments[-1] is Ellipsis
        return arguments[0] if is_list and not self.positional else None


def _options(options_class: Any, prefix: str = "") -> Iterator[_Option]:
    hints = get_type_hints(options_class, include_extras=True)
    for field in dataclasses.fields(options_class):
        kind, name, positional = hints[field.name], field.name, False
        if get_origin(kind) is Annotated:
            kind, *marks = get_args(kind)
            positional = tyro.conf.Positional in marks
            name = next((mark.name for mark in marks if getattr(mark, "name", None)), name)
        if get_origin(kind) in (Union, UnionType):
            kind, *others = (choice for choice in get_args(kind) if choice is not NoneType)
            # of several types, such as a word or a number, none says what fits
            kind = str if others else kind
        if dataclasses.is_dataclass(kind):
            yield from _options(kind, f"{prefix}{name}.")
        else:
            yield _Option(f"--{prefix}{name.replace('_', '-')}", kind, positional)


def option_names(*options_classes: type) -> set[str]:
    """Give every option's name, with that of its opposite."""
    names = set(_OF_EVERY_COMMAND)
    for option in (option for options_class in options_classes for option in _options(options_class)):
        section, dot, last = option.name.removeprefix("--").rpartition(".")
        names |= {option.name, f"--{section}{dot}no-{last}"} if option.kind is bool else {option.name}
    return names


def _name_of(word: str) -> str:
    """Give the name in a word such as ``--data.jpeg_quality=70``, as options are written here."""
    return word.partition("=")[0].replace("_", "-")


def _is_name(word: str) -> bool:
    return word.startswith("-") and not _fits(word, float)


def value_of(arguments: Sequence[str], name: str) -> str | None:
    """Give the last value of an option before the command line is parsed; None where it has none."""
    found = None
    for word, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        if word == name and not _is_name(following):
            found = following
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def check_names(arguments: Sequence[str], program: str, *options_classes: type) -> None:
    """Refuse an option that there is not, with those that have a similar name, and an empty word.

    An empty word is a variable of the shell that is not set. As a path it would be the current folder.

    Args:
        arguments: Today's names of options, without the program.
        program: Whose ``--help`` lists all of them.
        *options_classes: Dataclasses of the options that there are.

    Raises:
        UserError: There is one.
    """
    names = option_names(*options_classes)
    for before, word in zip(["", *arguments], arguments, strict=False):
        if word == "--":
            return
        if not word or (word.startswith("--") and word.endswith("=") and word.count("=") == 1):
            place = word.rstrip("=") or (before if before.startswith("--") else "an argument")
            raise UserError(f"{place}: is empty; give a value, or leave it out (is a variable of the shell not set?)")
        if not word.startswith("--") or _name_of(word) in names:
            continue
        likely = _similar(_name_of(word), names)
        asked = f" (did you mean {' or '.join(likely)}?)" if likely else ""
        raise UserError(f"{word.partition('=')[0]}: no such option{asked}; {program} --help lists all options")


def _similar(name: str, names: set[str]) -> list[str]:
    """Find options that a name is nearly, and those that it is when the section before the dot is left out."""
    last = name.removeprefix("--").rpartition(".")[2]
    by_last = sorted(other for other in names if "." in other and other.rpartition(".")[2] == last)
    candidates = sorted(names)
    close = get_close_matches(name, candidates, _SUGGESTIONS, 0.85) or get_close_matches(name, candidates, 1)
    return by_last[:_SUGGESTIONS] or close


def end_lists(options_class: type, arguments: Sequence[str]) -> list[str]:
    """Let a list of values end where a word cannot be one of them, so that the word stays positional.

    ``--data.factors 2 3 folder`` becomes ``folder --data.factors 2 3``. Lists of any words take all words up to the
    next option.

    Args:
        options_class: Dataclass of the options; one without positional words needs none of this.
        arguments: Without the program.

    Raises:
        UserError: The first word of a list is none of its values, or its values are joined by commas.
    """
    options = list(_options(options_class))
    _refuse_commas({option.name for option in options if option.item in (int, float)}, arguments)
    if not any(option.positional for option in options):
        return list(arguments)
    items = {option.name: option.item for option in options if option.item is not None}
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    lists: list[str] = []
    start = 0
    while start < end:
        following = next((i for i in range(start + 1, end) if _is_name(words[i])), end)
        item = items.get(_name_of(words[start])) if _is_name(words[start]) else None
        if item is None:
            kept += words[start:following]
        else:
            first = start + 1
            stop = next((i for i in range(first, following) if not _fits(words[i], item)), following)
            if stop == first < following and "=" not in words[start]:
                raise UserError(f"{words[start]} {words[first]}: {words[first]!r} is no value of this option; give one")
            lists += words[start:stop]
            kept += words[stop:following]
        start = following
    return [*kept, *lists, *words[end:]]


def _refuse_commas(lists_of_numbers: set[str], arguments: Sequence[str]) -> None:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        given = value if equals else following
        if _name_of(word) not in lists_of_numbers or not re.search(r"[][,;]", given):
            continue
        numbers = re.findall(r"[^][(),;\s]+", given)
        if numbers and all(_fits(one, float) for one in numbers):
            raise UserError(f"{name} {given}: separate the values by blanks, as in {name} {' '.join(numbers)}")


def _fits(word: str, kind: Any) -> bool:
    """Whether a word can be a value of a list."""
    if get_origin(kind) is Literal:
        return word in map(str, get_args(kind))
    if kind in (int, float):
        try:
            kind(word)
        except ValueError:
            return False
    return True
