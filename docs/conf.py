"""Sphinx's settings: `make docs` writes `build/docs/index.html`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
# address of the repository's files on a forge, such as https://HOST/OWNER/intact_fast/blob/main
REPOSITORY = os.environ.get("DOCS_REPOSITORY", "").rstrip("/")

project = "intact_fast"
author = "the intact_fast authors"
copyright = "the intact_fast authors, Apache-2.0"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["generate", "figures"]
html_theme = "furo"
html_title = "intact_fast"
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["tables.css"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_prompt_text = ""

_OUTSIDE = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>(?:\.\./)+[^)#\s]+)(?P<anchor>#[^)\s]+)?\)")


def _point_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links to files outside the documents into links to the forge, or into plain text without one."""
    folder = (HERE / name).parent

    def written(match: re.Match[str]) -> str:
        path = (folder / match["target"]).resolve()
        if path.is_relative_to(HERE):
            return match[0]
        if not REPOSITORY:
            return match["text"]
        return f"[{match['text']}]({REPOSITORY}/{path.relative_to(HERE.parent).as_posix()}{match['anchor'] or ''})"

    source[0] = _OUTSIDE.sub(written, source[0])


def setup(app: Sphinx) -> None:
    """Connect the hook."""
    app.connect("source-read", _point_outside)
