"""The look that all plots of a report share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from intact_fast.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#2f6db3", "#dd8452", "#3a9163", "#6b6b6b"
"""Colours that stay apart for colour-blind readers, in the order of use."""
_DPI = 130
# inches around a panel; matplotlib's own layout engine takes longer than all the drawing
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.55, 0.15, 0.42, 0.3


def small_multiples(count: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Make a figure of equal panels, row by row, without the state of pyplot.

    Args:
        count: Number of panels.
        columns: Panels in a row.
        panel: Width and height of one in inches.

    Returns:
        The figure, and its ``count`` axes.
    """
    # of several processes one draws; the others need not wait for what that takes to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    width, height = panel
    figure = Figure(figsize=(width * columns, height * rows), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = []
    for number in range(count):
        row, column = divmod(number, columns)
        left = column + _LEFT / width
        bottom = rows - 1 - row + _BOTTOM / height
        size = 1 - (_LEFT + _RIGHT) / width, 1 - (_BOTTOM + _TOP) / height
        axes.append(figure.add_axes((left / columns, bottom / rows, size[0] / columns, size[1] / rows)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#b0b0b0")
        ax.tick_params(labelsize=8, color="#b0b0b0", labelcolor="#404040")
        ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")
