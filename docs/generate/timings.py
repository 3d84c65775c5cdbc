"""Tables of pytest-benchmark's timings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY
from docs.generate.speed import duration, short


@dataclass(frozen=True)
class Layout:
    """A table of pytest-benchmark's figures.

    Attributes:
        first: Title of the first column.
        groups: Title of each group, which is a line, or with ``across`` a column.
        rows: Title of each row of the groups.
        figure: `img_per_s`, or a time.
        across: Whether groups are columns.
        baseline: Row that the others are compared with.
    """

    first: str
    groups: Mapping[str, str]
    rows: Mapping[str, str]
    figure: str = "img_per_s"
    across: bool = False
    baseline: str | None = None


_KINDS = {f"Market-1501 size, {kind} features": f"`{kind}` features" for kind in ("good", "poor")}
LAYOUTS = {
    "step": Layout(
        "pictures per second",
        {
            "training step, cpu-preset": "preset `cpu`, batch 32",
            "training step, paper-preset": "preset `paper`, batch 2",
        },
        {"naive": "naive form", "shared": "shared forward passes"},
        baseline="naive",
    ),
    "inference": Layout(
        "pictures per second",
        {"inference, cpu-preset": "preset `cpu`, batch 32", "inference, paper-preset": "preset `paper`, batch 4"},
        {"critic only": "C alone", "G and critic": "G and C"},
    ),
    "data": Layout(
        "training pictures per second",
        {f"training pictures, {size}, to the cpu": size.replace("x", "×") for size in ("256x128", "128x64")},
        {name: name for name in ("torch DataLoader and Pillow", "DALI", "DALI, decoded pictures cached")},
        baseline="torch DataLoader and Pillow",
    ),
    "data-older": Layout(
        "training pictures per second",
        {f"training pictures, {size}, to the cpu": size.replace("x", "×") for size in ("256x128", "128x64")},
        {name: name for name in ("torch DataLoader and Pillow", "DALI")},
        baseline="torch DataLoader and Pillow",
    ),
    "serving": Layout(
        "crops per second, batch size",
        {f"crops to features, native 64x32, batch {size}": str(size) for size in (1, 16, 64)},
        {
            "by hand": "glued by hand in eager PyTorch",
            "SRReID": "`SRReID`",
            "SRReID folded": "`fold=True`",
            "SRReID folded compiled": "`fold=True, compile=True`",
        },
        baseline="by hand",
    ),
    "multi-shot": Layout(
        "multi-shot CMC, mAP and mINP from distances, ms",
        {f"multi-shot CMC and mAP from distances, {group}": text for group, text in _KINDS.items()},
        {
            "engine": "engine, 2 threads",
            "engine, 1 thread": "engine, 1 thread",
            "numpy counting": "numpy with the engine's algorithm, a query at a time",
            "numpy sorting": "numpy, `argsort` of the whole matrix",
        },
        "median_s",
        across=True,
        baseline="engine",
    ),
    "single-shot": Layout(
        "ms",
        {f"single-shot, {group}": text for group, text in _KINDS.items()},
        {
            "distances": "distances from features",
            "exact": "exact single-shot CMC, mAP and mINP from distances",
            "sampled x10": "sampled single-shot, 10 repeats, from distances",
            "sampled x100": "sampled single-shot, 100 repeats, from distances",
        },
        "median_s",
        across=True,
    ),
    "growth-table": Layout(
        "1,000 queries, features to figures, ms: gallery",
        {
            f"{protocol} evaluation from features, 1,000 queries, by gallery": protocol
            for protocol in ("multi-shot", "single-shot")
        },
        {str(size): f"{size:,}" for size in (1000, 3000, 10000, 30000, 100000, 200000)},
        "median_s",
        across=True,
    ),
    "queries": Layout(
        "512 queries read as HR, LR and SR, with PSNR and SSIM, ms",
        {"reading queries for an evaluation, 256x128": "time"},
        {"one pass": "one pass for all uses", "a pass for each use": "a pass for each use, a float tensor a picture"},
        "median_s",
        across=True,
        baseline="one pass",
    ),
}


def timings_block(call: Call) -> str:
    """Write a table of a record by its layout: ``timings RECORD LAYOUT``."""
    name, layout = call.words[0], LAYOUTS[call.words[1]]
    figures = records.read(name)["figures"]

    def cell(group: str, row: str) -> str:
        value = figures[group][row][layout.figure]
        text = short(value if layout.figure == "img_per_s" else 1e3 * value)
        if layout.baseline in (None, row):
            return text
        return f"{text} ({short(value / figures[group][layout.baseline][layout.figure])}×)"

    if layout.across:
        lines = [[text, *(cell(group, row) for group in layout.groups)] for row, text in layout.rows.items()]
        heads = [text + _rank1(figures[group]) for group, text in layout.groups.items()]
        return table([layout.first, *heads], lines, 1)
    lines = [[text, *(cell(group, row) for row in layout.rows)] for group, text in layout.groups.items()]
    return table([layout.first, *layout.rows.values()], lines, 1)


def _rank1(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Say how many queries features find, where a group's rows tell."""
    found = {row["rank-1"] for row in rows.values() if "rank-1" in row}
    return f", Rank-1 {100 * found.pop():.1f} %" if found else ""


BASELINES = {
    "multi-shot from distances, 200 queries, 15,913 gallery pictures: loop in plain Python": (
        "multi-shot CMC and mAP from distances, 200 queries on the gallery of Market-1501",
        "plain Python",
    ),
    "re-ranking, 500 queries, 3,000 gallery pictures: whole numpy matrices": (
        "k-reciprocal re-ranking, 500 queries, 3,000 gallery pictures",
        "dense numpy",
    ),
}
"""Group and row of each line of `baselines_block`."""


def baselines_block(call: Call) -> str:
    """Write single baselines beside the engine: ``baselines RECORD``."""
    figures, lines = records.read(call.words[0])["figures"], []
    for text, (group, row) in BASELINES.items():
        ours, theirs = (1e3 * figures[group][name]["median_s"] for name in ("engine", row))
        lines.append([text, short(ours), f"{short(theirs)} ({short(theirs / ours)}×)"])
    return table(["task and baseline, ms", "engine", "baseline"], lines, 1)


def large_block(call: Call) -> str:
    """Write the time and memory of large jobs: ``large EVALUATION SERVING``, two records."""
    evaluation, serving = (records.read(name)["figures"] for name in call.words)
    (ranked,) = evaluation["whole process, 10,000 queries on 200,000 gallery pictures"].values()
    (market,) = evaluation["re-ranked evaluation from features, Market-1501 size"].values()
    (index,) = serving["index of 10,000 pictures"].values()
    before, peak = (f"{ranked[key]:.2f} GB" for key in ("before_evaluation_gb", "peak_gb"))
    lines = [
        ["exact single-shot, 10,000 queries on 200,000 gallery pictures", duration(ranked["seconds"]), before, peak],
        ["re-ranked multi-shot at the size of Market-1501", duration(market["median_s"]), EMPTY, EMPTY],
        [
            "gallery index of 10,000 pictures",
            duration(index["median_s"]),
            *(f"{index[key]:.0f} MiB" for key in ("before_mib", "after_mib")),
        ],
    ]
    return table(["", "time", "memory of the process before", "peak memory"], lines, 1)
