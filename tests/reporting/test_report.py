"""The Markdown report of a run shows names that others gave as text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from intact_fast.evaluation.readable import Unreadable
from intact_fast.reporting.report import Section, write_report
from reporting.conftest import HOSTILE, Case

LINK = "![x](https://example.org/x.png)"


def test_names_bring_no_markup(case: Case, tmp_path: Path) -> None:
    """Of folders, unreadable pictures, notes, and of the people on whom a model file says that it was calibrated."""
    folder = tmp_path / HOSTILE[0]
    folder.mkdir()
    evaluation = replace(case.evaluation, unreadable=Unreadable((HOSTILE[1],), (LINK,)))
    said = f"critic from {HOSTILE[1]} {LINK}"
    section = Section("Similarities and thresholds", folder / "x.png", f"Measured on {said}.")
    text = write_report(evaluation, folder, {}, [said], [section]).read_text(encoding="utf-8")
    assert "<" not in text
    # its own picture of a section is the only one
    assert re.findall(r"!\[.*?\]\(.*?\)", text) == [f"![{section.title}](x.png)"]
    assert text.count("alert(2)") == 3
    assert text.count("example.org") == 3
