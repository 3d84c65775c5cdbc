"""Figures of records, as SVG that carries the numbers that it draws."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.generate import records
from docs.generate.blocks import ROOT, Call
from docs.generate.rows import BOUND, title

FIGURES = ROOT / "docs" / "figures" / "generated"
"""Where pages find the figures."""
FOLDER = FIGURES
"""Where `save` writes; `redirected` changes it."""
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


@contextmanager
def redirected(folder: Path) -> Iterator[None]:
    """Let `save` write into another folder, while pages link to `FIGURES` still."""
    global FOLDER
    before, FOLDER = FOLDER, folder
    try:
        yield
    finally:
        FOLDER = before


def stale(folder: Path) -> list[str]:
    """Name the figures of a folder whose numbers are not those of the figure that pages show."""
    return [
        path.name
        for path in sorted(folder.glob("*.svg"))
        if not (FIGURES / path.name).is_file() or drawn_numbers(FIGURES / path.name) != drawn_numbers(path)
    ]


def drawn_numbers(path: Path) -> Any:
    """Read the numbers that a figure of `save` shows."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(unescape(found[1])) if found else None


def image(path: Path, text: str, page: Path) -> str:
    """Show a figure on a page."""
    up = "../" * len(page.parent.relative_to(ROOT).parts)
    target = (FIGURES / path.name).relative_to(ROOT).as_posix()
    return f"![{text}]({_shortened(up + target, page)})"


def _shortened(target: str, page: Path) -> str:
    """Leave out the way up to the repository where both lie below docs/."""
    inside = page.parent.relative_to(ROOT).parts
    if inside[:1] != ("docs",):
        return target
    return "../" * (len(inside) - 1) + target.removeprefix("../" * len(inside)).removeprefix("docs/")


def bars_block(call: Call) -> str:
    """Draw rows of a record with intervals: ``bars RECORD rows=a,b [figure=Rank-1] [name=FILE] [marks=dots]``.

    Bars begin at 0; dots are for rows that differ by little.
    """
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
    drawing = _drawn(labels, numbers, figure, dots=call.options.get("marks") == "dots")
    path = save(drawing, call.options.get("name", f"{call.words[0]}-{figure}"), numbers)
    known = any(row["interval"] for row in numbers.values())
    return image(path, f"{_named(figure)} of each row" + " with its 95 % interval" * known, call.page)


def plain(label: str) -> str:
    """Take the marks of Markdown out of a label."""
    return re.sub(r"[`*]", "", label)


def _named(figure: str) -> str:
    return "single-shot Rank-1" if figure == "Rank-1" else figure


def _value(row: Mapping[str, Any], figure: str) -> float:
    found = row["figures"][figure]
    return found["mean"] if isinstance(found, Mapping) else found


def _drawn(labels: Sequence[str], numbers: Mapping[str, Any], figure: str, dots: bool) -> Figure:
    rows = [numbers[name] for name in numbers if name != BOUND]
    with matplotlib.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(7, 0.42 * len(rows) + 0.9))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        for place, row in enumerate(rows):
            if row["interval"]:
                colour = OURS if dots else "#12354a"
                axes.plot(row["interval"], [place, place], color=colour, linewidth=1.5, solid_capstyle="butt", zorder=2)
        if dots:
            _dots(axes, rows)
        else:
            _bars(axes, rows)
        if BOUND in numbers:
            bound = numbers[BOUND]["mean"]
            axes.axvline(bound, color=BOUND_LINE, linestyle=(0, (4, 3)), linewidth=1.2, zorder=0.5)
            above = axes.get_xaxis_transform()
            text = f"HR queries {bound:.1f}"
            axes.text(bound, 1.01, text, transform=above, ha="center", va="bottom", color="#555555")
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{_named(figure)} (%)")
    return drawing


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.barh(range(len(rows)), [row["mean"] for row in rows], color=OURS, height=0.62)
    for place, row in enumerate(rows):
        # inside the bar, where neither the interval nor the line of the bound passes
        axes.annotate(f"{row['mean']:.1f}", (0, place), (4, 0), textcoords="offset points", va="center", color="white")


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8, zorder=0)
    axes.scatter([row["mean"] for row in rows], range(len(rows)), color=OURS, s=36, zorder=3)
    for place, row in enumerate(rows):
        # above the dot, so that it does not lie on the interval
        axes.annotate(
            f"{row['mean']:.1f}",
            (row["mean"], place),
            (0, 5),
            textcoords="offset points",
            ha="center",
            color="#333333",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=1,
        )
