"""The page of ``intact-fast search --html``: queries and their matches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from intact_fast.data.degradation import read_image
from intact_fast.data.sampling import evenly_spaced
from intact_fast.reporting.embedding import EmbeddedPictures
from intact_fast.reporting.html_page import write_html
from intact_fast.reporting.pictures import super_resolved
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.thresholds import rounded_up

_TOP = 50
"""Matches of a query that the page shows, at most: each is a picture in the file."""
_SORTS = (
    {"key": "order", "label": "As given", "field": "order", "sign": 1},
    {"key": "best", "label": "Most similar match", "field": "similarity", "sign": -1},
    {"key": "worst", "label": "Least similar match", "field": "similarity", "sign": 1},
    {"key": "name", "label": "File name", "field": "name", "sign": 1},
)


def write_html_search(
    path: Path,
    matches: Mapping[Path, Sequence[tuple[str, float]]],
    gallery: Path,
    gallery_size: int,
    model: SRReID,
    model_file: Path,
    queries: int,
    limits: Mapping[Path, float] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write the page.

    Args:
        path: File to write.
        matches: Gallery files, relative to the gallery, with their similarities, the best first, by query file.
        gallery: Folder of the gallery.
        gallery_size: Pictures in it.
        model: Says which queries pass through G.
        model_file: Where the model is from.
        queries: How many queries to show; of more, some at equal distances.
        limits: Threshold of the similarity by query file, above which matches are marked; None marks nothing.
        advance: Told how many queries are done.
    """
    pictures = EmbeddedPictures()
    shown = evenly_spaced(list(matches), queries)
    names: dict[str, int] = {}
    described = []
    for number, query in enumerate(shown):
        found = matches[query][:_TOP]
        for name, _ in found:
            if name not in names:
                names[name] = len(names)
                pictures.add(("gallery", name), _fitted(read_image(gallery / name), model), small=True)
        limit = None if limits is None else limits[query]
        described.append(_query(query, number, found, names, pictures, model, limit))
        advance(1)
    data = {
        "kind": "search",
        "lists": [{"view": "matches", "label": "Matches", "title": "Matches"}],
        "score": "similarity",
        "queries": described,
        "gallery": {row: [name, pictures.place(("gallery", name)), None, None] for name, row in names.items()},
        "pictures": pictures.addresses,
    }
    through = sum("sr" in query["pictures"] for query in described)
    context = {
        "title": f"Matches in {gallery}",
        "subtitle": f"{len(matches):,} queries, {gallery_size:,} gallery pictures, model `{model_file}`",
        "mode": model.mode,
        "choice": _describe(len(shown), len(matches), max(map(len, matches.values()), default=0)),
        "through": through,
        "shown": len(shown),
        "marked": limits is not None,
        "sorts": _SORTS,
        "size": model.size,
    }
    write_html(path, "search.html.j2", data, context)


def _query(
    path: Path,
    number: int,
    found: Sequence[tuple[str, float]],
    names: Mapping[str, int],
    pictures: EmbeddedPictures,
    model: SRReID,
    limit: float | None,
) -> dict[str, Any]:
    image = read_image(path)
    places = {"lr": pictures.add(("query", path), _fitted(image, model))}
    enhanced = super_resolved(image, model)
    if enhanced is not None:
        places["sr"] = pictures.add(("sr", path), enhanced)
    return {
        "name": str(path),
        "size": f"{image.width}×{image.height}",
        "pictures": places,
        "enhanced": enhanced is not None,
        "limit": None if limit is None else float(rounded_up(limit)),
        "keys": {"name": str(path), "order": number, "similarity": found[0][1] if found else None},
        "hits": {
            "matches": [
                [names[name], float(f"{score:.4g}"), None if limit is None else int(score > limit)]
                for name, score in found
            ]
        },
    }


def _fitted(image: Image.Image, model: SRReID) -> Image.Image:
    """Resize a picture to the networks' size, as G and C see it."""
    return image.resize((model.size[1], model.size[0]), Image.Resampling.BILINEAR)


def _describe(shown: int, searched: int, top: int) -> str:
    """Say which queries and matches are shown."""
    if shown == searched:
        said = f"All {shown:,} queries are shown."
    else:
        said = f"{shown:,} of {searched:,} queries are shown, at equal distances. `--html-queries N` shows N."
    return f"{said} Of {top:,} matches the first {_TOP} are shown." if top > _TOP else said
