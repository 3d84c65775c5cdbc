"""Results by track or person instead of by picture, and several query pictures as one query."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.errors import UserError, warn
from intact_fast.serving.gallery.conditions import typed_condition
from intact_fast.serving.gallery.engine import pc
from intact_fast.serving.gallery.scanning import scan
from intact_fast.serving.gallery.search import Exclusion, Match, search_gallery, unit_queries
from intact_fast.serving.gallery.store import Gallery, sql_text

GroupColumn = Literal["track", "person"]
GroupForm = Literal["mean", "best"]

_GROUPS_A_TIME = 200_000
"""Groups whose means are in memory at a time, 400 MB of 512 numbers."""
_MORE = 8


def search_groups(
    gallery: Gallery,
    queries: Tensor,
    top: int,
    by: GroupColumn,
    form: GroupForm = "mean",
    *,
    where: str | None = None,
    without: Sequence[Exclusion] | None = None,
    approximate: bool = False,
) -> list[list[Match]]:
    """Rank the tracks or people of a gallery; a match shows the most similar picture of its group.

    Args:
        gallery: Where to look.
        queries: Q×D.
        top: Groups in a list.
        by: Column whose values are the groups. Pictures without a value are left out, and counted in a warning.
        form: `mean` compares with the average of a group's features, `best` with its most similar picture.
        where: SQL condition on the columns; a group is of the pictures that meet it.
        without: What each query shall not find.
        approximate: Use an index, in form `best` alone.

    Raises:
        UserError: No picture has a value, or an average shall be approximate.
    """
    if approximate and form == "mean":
        raise UserError("--approximate: an index is of pictures; give --group best, or search exactly")
    lacking = gallery.dataset.count_rows(filter=f"{by} IS NULL")
    if lacking == len(gallery):
        raise UserError(f"--group-by {by}: no picture has a {by}; give --columns-pattern or --columns")
    if lacking:
        warn(f"--group-by {by}: {lacking:,} pictures without a {by} are left out")
    has_value = f"{by} IS NOT NULL"
    excluded = list(without or [Exclusion()] * len(queries))
    if form == "best":
        narrowed = has_value if where is None else f"({where}) AND {has_value}"
        return _best(gallery, queries, top, by, narrowed, excluded, approximate)
    unit = unit_queries(queries)
    condition = has_value if where is None else f"({typed_condition(where)}) AND {has_value}"
    found: list[list[Match]] = [[] for _ in queries]
    # averages are of what a query may find: queries that may find the same share a pass
    for exclusion in dict.fromkeys(excluded):
        rows = [i for i, one in enumerate(excluded) if one == exclusion]
        own = exclusion.condition()
        narrowed = condition if own is None else f"{condition} AND {own}"
        for row, matches in zip(rows, _means(gallery, unit[rows], top, by, narrowed), strict=True):
            found[row] = matches
    return found


def _best(
    gallery: Gallery,
    queries: Tensor,
    top: int,
    by: GroupColumn,
    where: str,
    without: Sequence[Exclusion],
    approximate: bool,
) -> list[list[Match]]:
    """Ask for longer lists until each holds enough groups; the first picture of a group is its best."""
    asked, size = top * _MORE, len(gallery)
    while True:
        lists = search_gallery(gallery, queries, asked, where=where, without=without, approximate=approximate)
        grouped = [_firsts(matches, by) for matches in lists]
        if asked >= size or all(len(g) >= top or len(m) < asked for g, m in zip(grouped, lists, strict=True)):
            return [matches[:top] for matches in grouped]
        asked = min(asked * _MORE, size)


def _firsts(matches: Sequence[Match], by: GroupColumn) -> list[Match]:
    first: dict[str, Match] = {}
    for match in matches:
        first.setdefault(match.columns[by], match)
    return list(first.values())


def _means(gallery: Gallery, unit: Tensor, top: int, by: GroupColumn, condition: str) -> list[list[Match]]:
    names = pc.unique(gallery.table([by], condition)[by].combine_chunks()).sort()
    best = torch.full((len(unit), top), -torch.inf)
    chosen = torch.zeros(len(unit), top, dtype=torch.int64)
    counts = torch.zeros(len(names), dtype=torch.int64)
    for begin in range(0, len(names), _GROUPS_A_TIME):
        some = names.slice(begin, _GROUPS_A_TIME)
        sums = torch.zeros(len(some), unit.shape[1])
        for features, _, batch in scan(gallery, [by], condition):
            codes = torch.from_numpy(pc.fill_null(pc.index_in(batch[by], some), -1).to_numpy().astype("int64"))
            here = codes >= 0
            sums.index_add_(0, codes[here], features[here])
            counts[begin : begin + len(some)] += codes[here].bincount(minlength=len(some))
        similar = unit @ F.normalize(sums).T
        value, index = torch.topk(similar, min(top, len(some)))
        best, order = torch.topk(torch.cat([best, value], 1), top)
        chosen = torch.cat([chosen, index + begin], 1).gather(1, order)
    return [
        [
            _shown(gallery, query, by, names[group].as_py(), int(counts[group]), score, condition)
            for score, group in zip(scores, groups, strict=True)
            if score > -torch.inf
        ]
        for query, scores, groups in zip(unit, best.clamp(max=1).tolist(), chosen.tolist(), strict=True)
    ]


def _shown(
    gallery: Gallery, query: Tensor, by: GroupColumn, group: str, count: int, score: float, condition: str
) -> Match:
    """Show a group by the picture that resembles the query most."""
    members = f"({condition}) AND {by} = {sql_text(group)}"
    ((match,),) = search_gallery(gallery, query[None], 1, where=members)
    return Match(match.path, score, match.columns, count)


def pool(features: Tensor, keys: Sequence[Hashable]) -> tuple[Tensor, list[Hashable]]:
    """Average features of the same key, at length 1.

    Args:
        features: N×D of length 1.
        keys: Of each.

    Returns:
        K×D of length 1, and the keys in the order in which they came.
    """
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    sums = torch.zeros(len(order), features.shape[1])
    sums.index_add_(0, torch.tensor([order[key] for key in keys], dtype=torch.int64), features.float().cpu())
    return F.normalize(sums), list(order)
