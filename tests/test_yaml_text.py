"""YAML that others wrote neither grows nor runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.mutations import yaml_bombs
from intact_fast.config.command_line import from_yaml
from intact_fast.errors import UserError
from intact_fast.yaml_text import from_yaml_text


def test_plain_values_are_read() -> None:
    assert from_yaml_text("a: [1, 0.5, x, null]\nb: {c: true}\n") == {"a": [1, 0.5, "x", None], "b": {"c": True}}


@pytest.mark.parametrize("name", yaml_bombs(Path("mark")))
def test_bombs_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(UserError, match=r"^x\.yaml: ") as caught:
        from_yaml(yaml_bombs(mark)[name], "x.yaml")
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_long_text_is_refused() -> None:
    with pytest.raises(ValueError, match="300,000 characters; 262,144 are read at most"):
        from_yaml_text("#" * 300_000)
