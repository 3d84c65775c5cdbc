"""Plain values that others wrote become dataclasses, or an error that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from intact_fast.plain_values import read_plain


@dataclass(frozen=True)
class Inner:
    rate: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner
    mode: Literal["auto", "on", "off"] = "auto"
    camera: int | Literal["random"] | None = None
    size: tuple[int, int] = (1, 2)
    by_name: Mapping[str, float] | None = None
    root: Path | None = None
    many: list[Inner] | None = None
    anything: Any = None
    flag: bool = False


def test_plain_values_become_dataclasses() -> None:
    plain = {
        "count": 3,
        "inner": {"rate": 1, "words": ["a"]},
        "mode": True,
        "camera": "random",
        "size": [3, 4],
        "by_name": {"x": 0.5},
        "root": "data",
        "many": [{"rate": 0.5}],
        "anything": [1],
    }
    inner = Inner(1, ("a",))
    found = Outer(3, inner, "on", "random", (3, 4), {"x": 0.5}, Path("data"), [Inner(0.5)], [1])
    assert read_plain(Outer, plain) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": "3"}, r"^count is '3', not a whole number$"),
        ({"count": True}, r"^count is True, not a whole number$"),
        ({"count": 1.0}, r"^count is 1\.0, not a whole number$"),
        ({"inner": None}, r"^inner is None, not keys with values$"),
        ({"inner": {"rate": 10**5000, "x": 1}}, r"^inner\.x: no such key$"),
        ({"inner": {"rate": [10**5000]}}, r"^inner\.rate is a list, not a number$"),
        ({"inner": {}}, r"^inner\.rate: missing$"),
        ({"inner": {"rate": 1, "words": "abc"}}, r"^inner\.words is 'abc', not a list$"),
        ({"inner": {"rate": 1, "words": ["a", 1]}}, r"^inner\.words\[1\] is 1, not text$"),
        ({"mode": 1}, r"^mode is 1, not one of auto, on, off$"),
        ({"camera": "some"}, r"^camera is 'some', not one of random$"),
        ({"size": [1]}, r"^size is a list, not a list of 2 values$"),
        ({"by_name": {1: 0.5}}, r"^by_name is a dict, not keys with values$"),
        ({"by_name": {"x": None}}, r"^by_name\.x is None, not a number$"),
        ({"root": "a\0b"}, r"^root is 'a\\x00b', not a path$"),
        ({"many": [{"rate": 1}, 3]}, r"^many\[1\] is 3, not keys with values$"),
        ({"flag": 1}, r"^flag is 1, not true or false$"),
        ({"count": 10**5000}, None),
        ({"x" * 500: 1}, r"^'x{60}…': no such key$"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(changes: dict[str, object], message: str | None) -> None:
    plain = {"count": 3, "inner": {"rate": 0.5}, **changes}
    if message is None:
        assert read_plain(Outer, plain).count == 10**5000
        return
    with pytest.raises(ValueError, match=message):
        read_plain(Outer, plain)


def test_what_holds_itself_a_thousand_times_is_not_written_into_a_message() -> None:
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(ValueError, match=r"^count is a list, not a whole number$"):
        read_plain(Outer, {"count": laughs, "inner": {"rate": 1}})


def test_the_whole_may_be_wrong() -> None:
    with pytest.raises(ValueError, match=r"^it is a list, not keys with values$"):
        read_plain(Outer, [1])
