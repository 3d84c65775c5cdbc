"""Warnings that many files give are said once."""

from __future__ import annotations

import pytest

from intact_fast.tallies import add_tallies, take_tallies, tally, warn_tallies


def test_each_thing_is_said_once_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    take_tallies()
    for name in ("a.jpg", "b.jpg", "a.jpg", "c.jpg", "d.jpg"):
        tally("of a kind", name)
    tally("of another", "e.jpg")
    handed_over = take_tallies()
    assert take_tallies() == {}
    add_tallies(handed_over)
    warn_tallies()
    warn_tallies()
    assert capsys.readouterr().err.splitlines() == [
        "warning: 4 pictures of a kind (a.jpg, b.jpg, c.jpg, …)",
        "warning: 1 picture of another (e.jpg)",
    ]
