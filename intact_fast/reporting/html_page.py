"""One self-contained HTML file from a template of the folder ``page/``: nothing in it asks a network for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.json_text import to_json

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SCRIPTS = ("state.js", "cards.js", "lists.js", "dialog.js", "plots.js")
_PLACE = files("intact_fast.reporting") / "page"


def write_html(
    path: Path, template: str, data: Mapping[str, Any], context: Mapping[str, Any], plots: bool = False
) -> None:
    """Fill a template and write the page atomically.

    Whatever stands in ``data`` and ``context`` is text: no name of a file becomes markup or a script.

    Args:
        path: File to write.
        template: Name in the folder ``page/``.
        data: What the page's scripts read, ready for JSON.
        context: What the template reads.
        plots: Whether the page draws plots, for which it carries Plotly.
    """
    scripts = []
    if plots:
        from plotly.offline import get_plotlyjs

        scripts.append(get_plotlyjs())
    scripts.append("\n".join(_text(name) for name in _SCRIPTS))
    text = (
        _environment()
        .get_template(template)
        .render(
            style=_verbatim(_text("page.css")),
            policy=_policy(scripts),
            scripts=[_verbatim(script) for script in scripts],
            data=_json(data),
            **context,
        )
    )
    with write_atomically(path) as temporary:
        # a name that is no Unicode has bytes that stand for themselves
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def check_html_name(path: Path | None, option: str) -> None:
    """Raise UserError unless a page may have this name."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{option} {path}: is written as HTML; name it .html")
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; give another name")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    return environment


def _text(name: str) -> str:
    return (_PLACE / name).read_text(encoding="utf-8")


def _verbatim(text: str) -> Markup:
    """Mark text of our own as markup."""
    from markupsafe import Markup

    assert "</script" not in text.lower(), "would end the element that it stands in"
    return Markup(text)


def _prose(text: str) -> Markup:
    """Escape a sentence, and set as code what stands between backticks."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _json(data: Mapping[str, Any]) -> Markup:
    """Write JSON that can stand in a script element: no text in it opens or ends one."""
    from markupsafe import Markup

    text = to_json(data, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(scripts: list[str]) -> str:
    """Say which scripts may run and that nothing is fetched; the browser holds the page to it."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
