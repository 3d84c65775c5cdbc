"""Whether what `docs/reliability.md` names as holding its promises is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import CAMPAIGNS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMES = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)?(?:::(\w+))?`", PAGE)


def named() -> list[tuple[str, str]]:
    """Give files and functions in them; a function alone is of the file before."""
    found, before = [], ""
    for file, function in NAMES:
        before = file or before
        if file or function:
            found.append((before, function))
    return found


@pytest.mark.parametrize(("file", "function"), sorted(set(named())))
def test_what_is_named_is_there(file: str, function: str) -> None:
    assert f"def {function}" in (ROOT / file).read_text(encoding="utf-8")


def test_every_campaign_is_named() -> None:
    assert [name for name in CAMPAIGNS if f"{name}.py" not in PAGE and f"`{name}`" not in PAGE] == []
