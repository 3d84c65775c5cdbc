"""Blocks of a page, and what fills them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

_BLOCK = re.compile(r"(<!-- generated: (?P<spec>[^\n]+?) -->\n).*?(<!-- end generated -->)", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """What a block asks for.

    Attributes:
        words: Arguments without ``=``, in order.
        options: Arguments of the form ``key=value``.
        page: The file that holds the block.
    """

    words: tuple[str, ...]
    options: Mapping[str, str]
    page: Path

    def listed(self, key: str, default: str = "") -> list[str]:
        """Split an option at its commas."""
        return [part for part in self.options.get(key, default).split(",") if part]


Maker = Callable[[Call], str]
"""Writes the Markdown of a block."""


def fill(text: str, page: Path, makers: Mapping[str, Maker]) -> str:
    """Write every block of a page anew.

    Args:
        text: The page.
        page: Its file, which links are relative to.
        makers: What fills a block, by the first word of its name.

    Raises:
        ValueError: A block asks for what nobody makes.
    """

    def written(match: re.Match[str]) -> str:
        name, *arguments = shlex.split(match["spec"])
        if name not in makers:
            raise ValueError(f"{page}: nothing makes the block {name!r}; there are {', '.join(sorted(makers))}")
        options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        words = tuple(argument for argument in arguments if "=" not in argument)
        body = makers[name](Call(words, options, page)).strip()
        return f"{match[1]}\n{body}\n\n{match[3]}"

    return _BLOCK.sub(written, text)


def table(head: list[str], rows: list[list[str]], numbers: int) -> str:
    """Write a Markdown table.

    Args:
        head: Titles of the columns.
        rows: The cells.
        numbers: Index of the first column that is aligned to the right.
    """
    rule = ["---" if column < numbers else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
