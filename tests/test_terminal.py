"""Terminals that cannot show every character."""

from __future__ import annotations

import ast
import codecs
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact_fast import terminal

PACKAGE = Path(terminal.__file__).parent


@pytest.fixture(autouse=True)
def _registered() -> None:
    terminal.print_any_character()


def written(text: str, encoding: str) -> str:
    return text.encode(encoding, "intact_fast.readable").decode(encoding)


@pytest.mark.parametrize(
    ("text", "ascii_text", "latin_text"),
    [
        ("R² of φ, Φ and σ – fine", "R2 of phi, Phi and sigma - fine", "R² of phi, Phi and sigma - fine"),
        ("256×128…", "256x128...", "256×128..."),
        ("╭─┬╮│├═╡┃╰╯", "+-++|+-+|++", "+-++|+-+|++"),
        ("━━╸╺ ⠋ █", "---- # #", "---- # #"),
        ("café.jpg", "caf\\u00e9.jpg", "café.jpg"),
        ("中.jpg 🙂", "\\u4e2d.jpg \\U0001f642", "\\u4e2d.jpg \\U0001f642"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg", "caf\\xe9.jpg"),
    ],
)
def test_characters(text: str, ascii_text: str, latin_text: str) -> None:
    assert written(text, "ascii") == ascii_text
    assert written(text, "latin-1") == latin_text


def test_utf_8_shows_all_but_bytes_that_are_no_unicode() -> None:
    assert written("R² φ 中 ╭", "utf-8") == "R² φ 中 ╭"
    assert written(os.fsdecode(b"\xff.jpg"), "utf-8") == "\\xff.jpg"


def test_reading_is_no_business_of_it() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", "intact_fast.readable")
    assert codecs.lookup_error("intact_fast.readable") is not None


def texts() -> Iterator[tuple[Path, str]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_every_character_that_the_package_prints_is_readable() -> None:
    """No escape stands in a text of ours; other languages' words for roles are compared with names, and not printed."""
    for path, text in texts():
        if path.name not in ("terminal.py", "folder_roles.py"):
            for character in text:
                assert character.isascii() or not written(character, "ascii").startswith("\\"), (path, character)


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=["latin-1", "ascii", "C"],
)
def test_help_of_a_training(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "intact_fast.cli", "train", "--help"]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    said = " ".join(done.stdout.decode("latin-1").split())
    assert "Learning rate of phi and sigma" in said
    assert "recent R" in said


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_shell_has_closed(closed: str) -> None:
    command = f'"$0" -m intact_fast.cli help {closed}; echo status $?'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("status 0\n")
    assert done.stdout.startswith("usage: intact-fast") == (closed == "2>&-")
    assert done.stderr == ""


def test_a_narrow_terminal_gets_help_at_once() -> None:
    command = [sys.executable, "-m", "intact_fast.cli", "prepare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "1"})
    assert max(map(len, done.stdout.splitlines())) > 30
