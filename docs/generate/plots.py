"""Figures of records, as SVG that carries the numbers that it draws."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from docs.generate import records
from docs.generate.blocks import ROOT, Call
from docs.generate.rows import BOUND, title

FOLDER = ROOT / "docs" / "figures" / "generated"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "intact_fast",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#333333",
    "figure.facecolor": "white",
}
OURS, OTHER, BOUND_LINE = "#2a6f97", "#a9b4c2", "#8a8a8a"


def save(figure: Figure, name: str, numbers: Mapping[str, Any]) -> Path:
    """Write a figure into `FOLDER` with the numbers that it shows.

    Args:
        figure: What was drawn; it is closed.
        name: The file's name without ending.
        numbers: What the figure shows; `drawn_numbers` reads them back.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    kept = json.dumps(numbers, ensure_ascii=False, sort_keys=True)
    if not path.is_file() or drawn_numbers(path) != json.loads(kept):
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None, "Description": kept})
    pyplot.close(figure)
    return path


def drawn_numbers(path: Path) -> Any:
    """Read the numbers that a figure of `save` shows."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(unescape(found[1])) if found else None


def image(path: Path, text: str, page: Path) -> str:
    """Show a figure on a page."""
    up = "../" * len(page.parent.relative_to(ROOT).parts)
    return f"![{text}]({_shortened(up + path.relative_to(ROOT).as_posix(), page)})"


def _shortened(target: str, page: Path) -> str:
    """Leave out the way up to the repository where both lie below docs/."""
    inside = page.parent.relative_to(ROOT).parts
    if inside[:1] != ("docs",):
        return target
    return "../" * (len(inside) - 1) + target.removeprefix("../" * len(inside)).removeprefix("docs/")


def bars_block(call: Call) -> str:
    """Draw rows of a record as bars with intervals: ``bars RECORD rows=a,b [figure=Rank-1] [name=FILE]``."""
    record = records.read(call.words[0])
    figure = call.options.get("figure", "Rank-1")
    chosen = [name for name in call.listed("rows") or list(record["rows"]) if name != BOUND]
    rows = {name: record["rows"][name] for name in chosen}
    numbers = {
        name: {"mean": _value(row, figure), "interval": row.get("interval") if figure == "Rank-1" else None}
        for name, row in rows.items()
    }
    bound = record["rows"].get(BOUND)
    if bound is not None:
        numbers[BOUND] = {"mean": _value(bound, figure), "interval": None}
    labels = [plain(title(name, row)) for name, row in rows.items()]
    path = save(_bars(labels, numbers, figure), call.options.get("name", f"{call.words[0]}-{figure}"), numbers)
    return image(path, f"{figure} of each row with its 95 % interval", call.page)


def plain(label: str) -> str:
    """Take the marks of Markdown out of a label."""
    return re.sub(r"[`*]", "", label)


def _value(row: Mapping[str, Any], figure: str) -> float:
    found = row["figures"][figure]
    return found["mean"] if isinstance(found, Mapping) else found


def _bars(labels: Sequence[str], numbers: Mapping[str, Any], figure: str) -> Figure:
    rows = [numbers[name] for name in numbers if name != BOUND]
    with matplotlib.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(7, 0.42 * len(rows) + 0.9))
        places = range(len(rows))
        axes.barh(places, [row["mean"] for row in rows], color=OURS, height=0.62)
        for place, row in zip(places, rows, strict=True):
            if row["interval"]:
                axes.plot(row["interval"], [place, place], color="#12354a", linewidth=1.5, solid_capstyle="butt")
            right = max(row["mean"], *(row["interval"] or [0]))
            axes.text(right + 0.6, place, f"{row['mean']:.1f}", va="center", color="#333333")
        if BOUND in numbers:
            axes.axvline(numbers[BOUND]["mean"], color=BOUND_LINE, linestyle=(0, (4, 3)), linewidth=1.2)
            axes.text(
                numbers[BOUND]["mean"],
                -0.8,
                f"HR queries {numbers[BOUND]['mean']:.1f}",
                ha="center",
                va="bottom",
                color="#555555",
            )
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{figure} (%)")
    return drawing
