"""README's picture: what super-resolution changes, on drawn pedestrians.

``python -m docs.generate.picture runs/default`` after ``make train``; the run must be one of the synthetic set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image

from docs.generate.blocks import ROOT
from intact_fast.config.command_line import from_yaml
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.evaluation.evaluator import Evaluation, evaluate
from intact_fast.evaluation.image_quality import to_uint8
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.training.checkpoint_models import lr_height, model_of_checkpoint, read_training_checkpoint
from intact_fast.training.checkpoints import CheckpointStore

matplotlib.use("Agg")
from matplotlib import pyplot

TARGET = ROOT / "docs" / "figures" / "pedestrians.png"
RIGHT, WRONG, FRAME = "#2e8b57", "#c0392b", "#9aa5b1"
TOP = 5


def main(arguments: Sequence[str]) -> int:
    """Draw the picture of a run; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate.picture", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run on the synthetic set")
    folder = parser.parse_args(arguments).run
    config = from_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder / "config.yaml"))
    if config.data.dataset != "synthetic":
        parser.error(f"{folder}: trained on {config.data.dataset}; pictures of real people do not belong here")
    manifest = Manifest.load(folder / "manifest.jsonl")
    path = CheckpointStore(folder / "checkpoints", 1).latest()
    if path is None:
        parser.error(f"{folder}: holds no checkpoint")
    height = lr_height(config.data.root, manifest, config.data.factors)
    model = model_of_checkpoint(
        read_training_checkpoint(path), path, interpolation=manifest.header.interpolation, lr_height=height
    )
    evaluation = evaluate(model, manifest, config.data.root, config.evaluation, config.data.threads)
    source = PictureSource(config.data.root, manifest.header, model, config.evaluation.batch_size, 1)
    draw(source, evaluation)
    print(TARGET.relative_to(ROOT))
    return 0


def ranks(evaluation: Evaluation, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Rank the gallery for every query: the order Q×G, and the first match's rank, Q."""
    order = torch.cdist(evaluation.query_features[view], evaluation.gallery_features).argsort(dim=1).numpy()
    people = np.array([entry.pid for entry in evaluation.gallery_entries])
    wanted = np.array([entry.pid for entry in evaluation.query_entries])
    return order, (people[order] == wanted[:, None]).argmax(axis=1)


def draw(source: PictureSource, evaluation: Evaluation) -> None:
    """Draw an LR | SR | HR strip for each r, and one query's ranked lists.

    The query is the first one of the split at the highest r that meets two conditions. Its LR form has no match
    among the first five, and its SR form has a match first.
    """
    orders = {view: ranks(evaluation, view) for view in ("lr", "sr")}
    entries = evaluation.query_entries
    rates = sorted({entry.r for entry in entries})
    gaining = [
        i
        for i, entry in enumerate(entries)
        if entry.r == rates[-1] and orders["lr"][1][i] >= TOP and orders["sr"][1][i] == 0
    ]
    strips = [next(entry for entry in entries if entry.r == r) for r in rates]
    figure = pyplot.figure(figsize=(9.6, 4.6), dpi=130, facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=(2.75, 6))
    _draw_strips(left.subplots(len(strips), 3), source, strips)
    _draw_lists(right.subplots(2, TOP + 1), source, evaluation, gaining[0], orders)
    left.subplots_adjust(0.13, 0.015, 0.97, 0.94, 0.0, 0.06)
    right.subplots_adjust(0.06, 0.015, 0.99, 0.94, 0.06, 0.14)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET)
    pyplot.close(figure)
    picture = Image.open(TARGET).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    picture.save(TARGET, optimize=True)


def _draw_strips(grid: np.ndarray, source: PictureSource, entries: Sequence[Entry]) -> None:
    for row, (line, entry) in enumerate(zip(grid, entries, strict=True)):
        (low,) = source.batches([entry], degraded=True)
        (high,) = source.batches([entry], degraded=False)
        for axes, batch, name in zip(line, (low, source.model.generate(low), high), ("LR", "SR", "HR"), strict=True):
            _show(axes, batch, FRAME)
            if row == 0:
                axes.set_title(name, fontsize=11, color="#333333", pad=5)
        line[0].set_ylabel(f"r = {entry.r}", fontsize=10, color="#555555", labelpad=6)


def _draw_lists(
    grid: np.ndarray,
    source: PictureSource,
    evaluation: Evaluation,
    query: int,
    orders: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    entry = evaluation.query_entries[query]
    (low,) = source.batches([entry], degraded=True)
    shown = {"lr": ("LR query", low), "sr": ("SR query", source.model.generate(low))}
    for line, (view, (name, batch)) in zip(grid, shown.items(), strict=True):
        _show(line[0], batch, "#333333")
        line[0].set_title(name, fontsize=11, color="#333333", pad=7, loc="left")
        for rank, (axes, place) in enumerate(zip(line[1:], orders[view][0][query], strict=False), start=1):
            hit = evaluation.gallery_entries[place]
            (picture,) = source.batches([hit], degraded=False)
            same = hit.pid == entry.pid
            _show(axes, picture, RIGHT if same else WRONG, 3.0)
            axes.set_title(f"{rank}  {'✓' if same else '✗'}", fontsize=10, color=RIGHT if same else WRONG, pad=5)


def _show(axes: Axes, batch: torch.Tensor, colour: str, width: float = 1.0) -> None:
    axes.imshow(to_uint8(batch)[0].permute(1, 2, 0).cpu().numpy(), interpolation="bilinear")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(width)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
