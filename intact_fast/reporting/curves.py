"""Curves of a training, from the figures that it logged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intact_fast.json_text import from_json
from intact_fast.plain_values import read_plain
from intact_fast.reporting.plots import BLUE, GREEN, GREY, ORANGE, save_figure, small_multiples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = dict[str, dict[str, dict[int, float]]]
"""Figures by task (``critic``, ``INTACT``), name and iteration, the iterations ascending."""


@dataclass(frozen=True)
class _Panel:
    title: str
    task: str
    series: dict[str, str]
    """Label by name of the figure; an empty label where the title says it all."""
    scale: float = 1.0
    floor: float | None = None
    """Values below are drawn at it."""
    from_zero: bool = False


_PANELS = (
    _Panel("Adversarial losses", "INTACT", {"loss/discriminator": "of D", "loss/gan": "of G"}),
    _Panel("G: picture content (MSE)", "INTACT", {"loss/mse": ""}),
    _Panel("G: identity", "INTACT", {"loss/id": ""}),
    _Panel("G and C_q: feature", "INTACT", {"loss/feature": ""}),
    _Panel("Association: L_dis", "INTACT", {"loss/dis_sr": "of SR, trains G", "loss/dis_hr": "of HR"}),
    _Panel(
        "R² of φ on HR pictures",
        "INTACT",
        {
            "association/r2": "mean since last record",
            "association/r2_recent": "recent average",
            "association/weight": "weight of L_dis",
        },
        # the first iterations can be at minus hundreds and would flatten the rest
        floor=-1.0,
    ),
    _Panel(
        "R² on held-out identities",
        "INTACT",
        {"validation/r2": "φ", "validation/r2_ridge": "ridge regression"},
        floor=-1.0,
    ),
    _Panel("D: share judged rightly (%)", "INTACT", {"discriminator/accuracy": ""}, 100),
    _Panel(
        "Validation, super-resolved queries (%)",
        "INTACT",
        {"validation/rank1": "Rank-1", "validation/mAP": "mAP"},
        100,
    ),
    _Panel(
        "Validation, corrupted queries (%)",
        "INTACT",
        {"validation/corrupted_rank1": "Rank-1", "validation/corrupted_mAP": "mAP"},
        100,
    ),
    _Panel("Training speed (pictures/s)", "INTACT", {"img_per_s": ""}, from_zero=True),
    _Panel("Critic: loss", "critic", {"loss/critic": ""}),
    _Panel("Critic: training accuracy (%)", "critic", {"critic/accuracy": ""}, 100),
)
_COLUMNS = 3
_MARKED = 30
"""Curves with fewer points show them."""


def read_metrics(folder: Path) -> Metrics:
    """Read what a run has logged so far.

    A run that was killed and resumed has logged some iterations twice: the later line counts.

    Args:
        folder: The run's folder; without ``metrics.jsonl`` the result is empty.
    """
    path = folder / "metrics.jsonl"
    metrics: Metrics = {}
    if not path.is_file():
        return metrics
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = _parse(text)
        if line is None:
            continue
        task, iteration = line.pop("task", None), line.pop("iteration", None)
        if not isinstance(task, str) or not isinstance(iteration, int):
            continue
        series = metrics.setdefault(task, {})
        for name, value in line.items():
            # null stands for what was not a number
            if isinstance(value, int | float):
                series.setdefault(name, {})[iteration] = value
    return {
        task: {name: dict(sorted(points.items())) for name, points in series.items()}
        for task, series in metrics.items()
    }


def _parse(text: str) -> dict[str, str | float | None] | None:
    """Read one line's figures. None for a torn one, the last of a run that was killed or is writing just now."""
    try:
        return read_plain(dict[str, str | float | None], from_json(text))
    except ValueError:
        return None


def curve_panels(metrics: Metrics) -> list[dict[str, Any]]:
    """Give the panels that `save_curves` draws as plain values: title, floor, and points by series.

    Args:
        metrics: From `read_metrics`.
    """
    panels = []
    for panel in _PANELS:
        series = [
            {
                "label": panel.series[name],
                "colour": list(panel.series).index(name),
                "x": list(points),
                "y": [float(f"{value:.5g}") for value in points.values()],
            }
            for name, points in _curves(metrics, panel).items()
        ]
        if series:
            panels.append(
                {
                    "title": panel.title,
                    "task": panel.task,
                    "floor": panel.floor,
                    "from_zero": panel.from_zero,
                    "marked": _MARKED,
                    "series": series,
                }
            )
    return panels


def save_curves(metrics: Metrics, path: Path) -> bool:
    """Draw losses, R² of φ, validation and speed as small panels; figures that were not logged are left out.

    Args:
        metrics: From `read_metrics`.
        path: PNG to write.

    Returns:
        Whether there was anything to draw; if not, nothing is written.
    """
    panels = [panel for panel in _PANELS if _curves(metrics, panel)]
    if not panels:
        return False
    figure, axes = small_multiples(len(panels), min(_COLUMNS, len(panels)), (3.6, 2.3))
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel, _curves(metrics, panel))
    save_figure(figure, path)
    return True


def _curves(metrics: Metrics, panel: _Panel) -> dict[str, dict[int, float]]:
    """Select the finite points of a panel by figure; figures without any are left out."""
    logged = metrics.get(panel.task, {})
    curves = {
        name: {i: panel.scale * value for i, value in logged.get(name, {}).items() if math.isfinite(value)}
        for name in panel.series
    }
    return {name: points for name, points in curves.items() if points}


def _draw(ax: Axes, panel: _Panel, curves: dict[str, dict[int, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    colours = dict(zip(panel.series, (BLUE, ORANGE, GREEN), strict=False))
    for name, points in curves.items():
        ax.plot(
            list(points),
            [value if panel.floor is None else max(value, panel.floor) for value in points.values()],
            color=colours[name],
            linewidth=1.5,
            marker="o" if len(points) < _MARKED else None,
            markersize=3,
            label=panel.series[name] or None,
        )
    ax.set_title(panel.title, fontsize=9, loc="left")
    ax.set_xlabel("iteration", fontsize=8, color=GREY)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # panels of one task are compared by iteration
    ax.set_xlim(left=0)
    if panel.from_zero:
        ax.set_ylim(bottom=0)
    if any(panel.series[name] for name in curves):
        ax.legend(fontsize=7, edgecolor="none", framealpha=0.8)
