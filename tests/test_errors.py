"""What a user's mistake says."""

from __future__ import annotations

import pytest

from intact_fast.errors import UserError, fail, warn


def test_a_name_with_line_ends_stays_on_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(UserError("a\nb\x1b[2J.jpg: unreadable picture"), debug=False) == 2
    warn("c\rd.jpg")
    assert capsys.readouterr().err == "error: a\\nb\\x1b[2J.jpg: unreadable picture\nwarning: c\\rd.jpg\n"


def test_how_a_command_is_used_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    fail(UserError("--out FILE: missing\nusage: intact-fast prepare"), debug=False)
    assert capsys.readouterr().err == "error: --out FILE: missing\nusage: intact-fast prepare\n"
