"""Figures of speed: the ladder, the operators against Inductor, and the growth of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from docs.generate import records
from docs.generate.blocks import Call
from docs.generate.plots import OTHER, OURS, STYLE, image, save
from docs.generate.speed import shape_of, short

DARK, FAINT, WARM = "#333333", "#e3e6ea", "#c8553d"


def ladder_bars_block(call: Call) -> str:
    """Draw pictures per second of every rung: ``ladder-bars RECORD``."""
    record = records.read(call.words[0])
    numbers = {rung["rung"]: {"img_per_s": rung["img_per_s"], "ratio": rung["ratio"]} for rung in record["ladder"]}
    path = save(_ladder(numbers), call.words[0], numbers)
    return image(path, "Pictures per second of each rung of the ladder", call.page)


def _ladder(numbers: Mapping[str, Mapping[str, float]]) -> Figure:
    with matplotlib.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(5.2, 0.36 * len(numbers) + 0.8))
        places, rungs = range(len(numbers)), list(numbers.values())
        best = max(rung["img_per_s"] for rung in rungs)
        colours = [OURS if rung["img_per_s"] == best else OTHER for rung in rungs]
        axes.barh(places, [rung["img_per_s"] for rung in rungs], color=colours, height=0.66)
        for place, rung in zip(places, rungs, strict=True):
            text = f"{short(rung['img_per_s'])}  ({rung['ratio']:.2f}×)"
            axes.text(rung["img_per_s"] + 0.012 * best, place, text, va="center", color=DARK)
        _horizontal(axes, list(numbers))
        axes.set_xlim(0, 1.22 * best)
        axes.set_xlabel("pictures per second")
    return drawing


def _horizontal(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


FAMILIES = {
    "pixel_shuffle_act": "pixel shuffle",
    "batch_norm_act": "batch normalisation",
    "linear_bn": "layers of φ and σ",
}
MARKS = {
    "ReLU": {"marker": "o", "color": OURS},
    "ReLU, with skip or residual": {"marker": "o", "markerfacecolor": "white", "color": OURS},
    "leaky ReLU": {"marker": "^", "color": WARM},
    "squared error": {"marker": "s", "color": "#7a5c99"},
}


def speedups_block(call: Call) -> str:
    """Draw Inductor's time over the fused operator's, forward and backward: ``speedups RECORD``."""
    ways = ("forward", "backward")
    numbers = []
    for row in records.read(call.words[0])["operators"]:
        inductor, fused = row["inductor"], row["fused"]
        ratios = {way: round(inductor[f"{way}_us"] / fused[f"{way}_us"], 3) for way in ways}
        numbers.append({"operator": row["operator"], "shape": shape_of(row), **ratios})
    path = save(_speedups(numbers), call.words[0], {"rows": numbers})
    return image(path, "Inductor's time divided by the fused operator's, by shape", call.page)


def _kind(operator: str) -> str:
    if operator.endswith("mse"):
        return "squared error"
    if "leaky" in operator:
        return "leaky ReLU"
    return "ReLU, with skip or residual" if "+" in operator else "ReLU"


def _places(numbers: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Give each family and shape its height, with a gap between families."""
    places: dict[tuple[str, str], float] = {}
    for number, family in enumerate(FAMILIES):
        for row in numbers:
            if row["operator"].startswith(family):
                places.setdefault((family, row["shape"]), len(places) + 1.3 * number)
    return places


def _speedups(numbers: list[dict[str, Any]]) -> Figure:
    places = _places(numbers)
    with matplotlib.rc_context(STYLE):
        drawing, both = pyplot.subplots(1, 2, sharey=True, figsize=(6.6, 0.29 * (len(places) + 3) + 0.9))
        for axes, way in zip(both, ("forward", "backward"), strict=True):
            axes.axvspan(0.5, 1, color="#f3f1ee", zorder=0)
            axes.axvline(1, color="#8a8a8a", linewidth=1, zorder=1)
            axes.hlines(list(places.values()), 0.6, 6, color=FAINT, linewidth=0.8, zorder=1)
            for row in numbers:
                (family,) = (f for f in FAMILIES if row["operator"].startswith(f))
                mark = MARKS[_kind(row["operator"])]
                axes.plot(row[way], places[family, row["shape"]], linestyle="", markersize=6, zorder=3, **mark)
            axes.set_xscale("log")
            axes.set_xlim(0.6, 6)
            axes.set_xticks([0.7, 1, 1.5, 2, 3, 5], ["0.7", "1", "1.5", "2", "3", "5"])
            axes.minorticks_off()
            axes.set_title(way, fontsize=10, color=DARK)
            axes.set_xlabel("times as fast as Inductor")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
        both[0].set_yticks(list(places.values()), [shape for _, shape in places])
        both[0].set_ylim(max(places.values()) + 0.7, -1.2)
        for family, text in FAMILIES.items():
            top = min(place for (name, _), place in places.items() if name == family)
            both[0].annotate(
                text,
                (0, top - 0.75),
                xycoords=both[0].get_yaxis_transform(),
                xytext=(-6, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=DARK,
                weight="bold",
            )
        handles = [Line2D([], [], linestyle="", markersize=6, label=name, **mark) for name, mark in MARKS.items()]
        drawing.legend(handles=handles, loc="lower center", ncols=4, frameon=False, bbox_to_anchor=(0.45, -0.02))
        drawing.subplots_adjust(wspace=0.08)
    return drawing


def growth_block(call: Call) -> str:
    """Draw the time of an evaluation by the size of its gallery: ``growth RECORD``."""
    figures = records.read(call.words[0])["figures"]
    numbers = {
        protocol: {
            size: row["median_s"]
            for size, row in figures[f"{protocol} evaluation from features, 1,000 queries, by gallery"].items()
        }
        for protocol in ("multi-shot", "single-shot")
    }
    path = save(_growth(numbers), f"{call.words[0]}-growth", numbers)
    return image(path, "Time of an evaluation by the size of its gallery", call.page)


def _growth(numbers: Mapping[str, Mapping[str, float]]) -> Figure:
    styles = {
        "multi-shot": {"color": OURS, "marker": "o"},
        "single-shot": {"color": WARM, "marker": "s", "markerfacecolor": "white"},
    }
    with matplotlib.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(5.6, 3.6))
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        for protocol, times in numbers.items():
            sizes = [int(size) for size in times]
            axes.plot(sizes, list(times.values()), linewidth=1.6, markersize=6, label=protocol, **styles[protocol])
        sizes = [int(size) for size in numbers["multi-shot"]]
        least = numbers["multi-shot"][str(sizes[0])]
        proportional = [0.55 * least * size / sizes[0] for size in sizes]
        axes.plot(
            sizes,
            proportional,
            color="#8a8a8a",
            linestyle=(0, (4, 3)),
            linewidth=1.2,
            label="proportional to the gallery",
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        # the last two labels would touch
        axes.set_xticks(sizes, [f"{size:,}" if size != sizes[-2] else "" for size in sizes])
        axes.set_yticks([0.01, 0.03, 0.1, 0.3, 1, 3], ["10 ms", "30 ms", "100 ms", "300 ms", "1 s", "3 s"])
        axes.minorticks_off()
        axes.set_xlabel("gallery pictures")
        axes.legend(frameon=False, loc="upper left")
    return drawing
