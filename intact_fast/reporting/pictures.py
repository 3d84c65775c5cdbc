"""Pictures of a run: LR | SR | HR triptychs and ranked lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from intact_fast.data.degradation import read_image
from intact_fast.data.manifest import Entry
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.image_quality import to_uint8
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.views import View
from intact_fast.files import save_picture
from intact_fast.reporting.ranked_lists import RankedList, lists_by_view
from intact_fast.serving.sr_reid import SRReID

RIGHT, WRONG, QUERY = "#2e8b57", "#c0392b", "#555555"
_FRAME, _GAP, _LABEL = 3, 6, 14
_MIN_HEIGHT = 128
TRIPTYCHS = 8
"""How many a run shows."""


def save_triptychs(source: PictureSource, entries: Sequence[Entry], path: Path) -> None:
    """Write one row of LR | SR | HR per picture, of LR | SR where it is natively LR.

    Args:
        source: Reads the pictures and holds G.
        entries: Which pictures.
        path: PNG to write.
    """
    x_l = torch.cat(list(source.batches(entries, degraded=True)))
    x_h = torch.cat(list(source.batches(entries, degraded=False)))
    columns = [_images(x) for x in (x_l, source.model.generate(x_l), x_h)]
    cells = [
        [
            (image, QUERY, f"{name} r={entry.r}" if name == "LR" and entry.r else name)
            for name, image in zip(("LR", "SR", "HR"), images, strict=True)
            if name != "HR" or entry.r
        ]
        for entry, images in zip(entries, zip(*columns, strict=True), strict=True)
    ]
    save_picture(_grid(cells), path, "PNG")


def save_ranked_lists(
    source: PictureSource,
    evaluation: Evaluation,
    queries: Sequence[int],
    path: Path,
    top: int = 5,
    lists: Mapping[View, Mapping[int, RankedList]] | None = None,
) -> None:
    """Write each query with its nearest gallery pictures, as LR and, beside them, super-resolved.

    A green frame is a right match, a red one a wrong one; junk (the same person in the same camera)
    is left out.

    Args:
        source: Reads the pictures and holds G.
        evaluation: Features and rows.
        queries: Rows of ``evaluation.query_entries`` to show.
        path: PNG to write.
        top: Length of each list.
        lists: From `lists_by_view`, at least that long; None ranks here.
    """
    cells = []
    if lists is None:
        lists = lists_by_view(evaluation, queries, top, source.header.distractor_pid)
    for query in queries:
        entry = evaluation.query_entries[query]
        row: list[Cell] = []
        for view, by_query in lists.items():
            gallery = [evaluation.gallery_entries[i] for i in by_query[query].rows[:top]]
            row.append((_query_image(source, entry, view), QUERY, view.upper()))
            images = _images(torch.cat(list(source.batches(gallery, degraded=False))))
            for rank, (hit, image) in enumerate(zip(gallery, images, strict=True), start=1):
                row.append((image, RIGHT if hit.pid == entry.pid else WRONG, str(rank)))
        cells.append(row)
    save_picture(_grid(cells), path, "PNG")


def save_matches(
    matches: Mapping[Path, Sequence[tuple[Path, float]]],
    model: SRReID,
    path: Path,
    limits: Mapping[Path, float] | None = None,
) -> None:
    """Write each query as it is, as G sees and returns it where it is natively low-resolution, and its matches.

    A match above its query's threshold has a green frame, and a query without one is labelled "none".

    Args:
        matches: Gallery files with their similarities, the best first, by query file.
        model: Says which queries pass through G.
        path: PNG to write.
        limits: Threshold of the similarity by query file; None marks nothing.
    """
    cells = []
    for query, hits in matches.items():
        image = read_image(query)
        limit = math.inf if limits is None else limits[query]
        none = limits is not None and not any(similarity > limit for _, similarity in hits)
        row = [(_enlarged(image, model.size), QUERY, "query: none" if none else "query")]
        enhanced = super_resolved(image, model)
        if enhanced is not None:
            row.append((_enlarged(enhanced, model.size), QUERY, "SR"))
        row += [
            (_enlarged(read_image(file), model.size), RIGHT if similarity > limit else QUERY, f"{similarity:.2f}")
            for file, similarity in hits
        ]
        cells.append(row)
    if cells:
        save_picture(_grid(cells), path, "PNG")


def super_resolved(image: Image.Image, model: SRReID) -> Image.Image | None:
    """Give a picture as G returns it; None where it does not pass through G."""
    if not model.is_low_resolution(image.height):
        return None
    (enhanced,) = model.super_resolve([image])
    return Image.fromarray((255 * enhanced).round().byte().permute(1, 2, 0).cpu().numpy())


def _enlarged(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = max(1, round(_MIN_HEIGHT / size[0]))
    return image.resize((size[1] * scale, size[0] * scale), Image.Resampling.BILINEAR)


def _query_image(source: PictureSource, entry: Entry, view: View) -> Image.Image:
    (batch,) = source.batches([entry], degraded=True)
    return _images(source.model.generate(batch) if view == "sr" else batch)[0]


def to_images(batch: Tensor) -> list[Image.Image]:
    """Turn N×3×H×W normalised pictures into Pillow's."""
    return [Image.fromarray(array) for array in to_uint8(batch).permute(0, 2, 3, 1).cpu().numpy()]


def _images(batch: Tensor) -> list[Image.Image]:
    """Turn N×3×H×W normalised pictures into Pillow's, enlarged to a visible size."""
    scale = max(1, round(_MIN_HEIGHT / batch.shape[2]))
    size = (batch.shape[3] * scale, batch.shape[2] * scale)
    return [image.resize(size, Image.Resampling.NEAREST) for image in to_images(batch)]


Cell = tuple[Image.Image, str, str]
"""A picture, the colour of its frame and its label."""


def _grid(rows: Sequence[Sequence[Cell]]) -> Image.Image:
    width, height = (side + 2 * _FRAME for side in rows[0][0][0].size)
    columns = max(len(row) for row in rows)
    step_x, step_y = width + _GAP, height + _LABEL + _GAP
    canvas = Image.new("RGB", (columns * step_x + _GAP, len(rows) * step_y + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for y, row in enumerate(rows):
        for x, (image, colour, label) in enumerate(row):
            left, top = _GAP + x * step_x, _GAP + y * step_y
            draw.text((left, top), label, fill="black")
            canvas.paste(ImageOps.expand(image, _FRAME, colour), (left, top + _LABEL))
    return canvas
