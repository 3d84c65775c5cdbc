"""YAML of plain values that others wrote: no aliases, no objects, few levels, and a bounded length."""

from __future__ import annotations

from typing import Any

import yaml

_DEEPEST = 20
_LONGEST = 2**18
"""Characters; a configuration has 4,000."""


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Composes no value twice and none too deep: an alias of aliases is a thousand times as large as its text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value again")
        if self._level > _DEEPEST:
            raise yaml.YAMLError(f"nested in more than {_DEEPEST} levels")
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


def from_yaml_text(text: str) -> Any:
    """Read plain values; no tag makes an object, and what would grow beyond its text is refused.

    Args:
        text: YAML.

    Raises:
        ValueError: It is no YAML of that kind.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"{len(text):,} characters; {_LONGEST:,} are read at most")
    try:
        loader = _PlainLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error
