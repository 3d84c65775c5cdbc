"""Standard output and error where they cannot show every character."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import unicodedata
from pathlib import Path

_ERRORS = "intact_fast.readable"
_NARROWEST = 40

_WRITTEN = {
    **{"²": "2", "³": "3", "×": "x", "·": "*", "°": " degrees ", "±": "+-", "…": "...", "•": "*", "→": "->", "←": "<-"},
    **{"≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "−": "-", "∞": "inf", "ø": "o", "Ø": "O", "§": "section "},
    **{"‐": "-", "‑": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " "},
    **{"⌊": "[", "⌋": "]", "✓": "ok", "✔": "ok", "✗": "x", "✘": "x"},
}
"""What stands for a character in ASCII, besides Greek letters and lines of boxes."""


def print_any_character() -> None:
    """Let standard output and error print every text, whatever the terminal's encoding is.

    A character that the encoding lacks is written in ASCII: R² of φ as R2 of phi, a box of + - |. Letters of a name
    become their escape, such as ``\\u00e9``, and bytes of a name that are no Unicode become ``\\xe9``.
    A stream that the shell has closed (``>&-``) takes all and shows nothing.
    """
    _fill_streams()
    _widen()
    codecs.register_error(_ERRORS, _readable)
    for stream in (sys.stdout, sys.stderr):
        # a test's or a notebook's own stream takes any text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _fill_streams() -> None:
    # in this order, so that no file that is opened later takes the number of a stream
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # open as long as the process lives
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _widen() -> None:
    """Let help have a width that its boxes fit in; narrower ones take it minutes."""
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    code = ord(character)
    if 0x2500 <= code < 0x2580:
        return _line(unicodedata.name(character))
    if 0x2580 <= code < 0x2600 or 0x2800 <= code < 0x2900:
        return "#"
    if 0xDC80 <= code < 0xDD00:
        return f"\\x{code - 0xDC00:02x}"
    greek = unicodedata.name(character, "").split()
    if greek[:1] == ["GREEK"] and greek[2:3] == ["LETTER"] and len(greek) == 4:
        return greek[3].capitalize() if greek[1] == "CAPITAL" else greek[3].lower()
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _line(name: str) -> str:
    """Give the character for a piece of a box by its Unicode name."""
    kind = name.removeprefix("BOX DRAWINGS ")
    if " AND " in kind or "DIAGONAL" in kind:
        return "+"
    return "-" if kind.endswith(("HORIZONTAL", "LEFT", "RIGHT")) else "|"
