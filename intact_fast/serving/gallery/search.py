"""Search of a gallery: exact in one pass over the features, or approximate with an index."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.dlpack
from torch import Tensor

from intact_fast.errors import UserError, tell
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.gallery.columns import SHOWN, file_name
from intact_fast.serving.gallery.conditions import typed_condition
from intact_fast.serving.gallery.engine import engine_errors, pa, pc
from intact_fast.serving.gallery.scanning import features_at, scan
from intact_fast.serving.gallery.store import Gallery, sql_text

_SIMILARITIES = 2**24
_INDEX = "features"
_INDEXED_FROM = 20_000
_UNINDEXED = 0.1
"""Share of rows outside the index, which are searched exactly, from which it takes them in."""
_PARTITION_ROWS = 1000
_PROBED = 1 / 8
_FEWEST_PROBED = 64
_CANDIDATES = 5
_FEWEST_CANDIDATES = 50
_QUERIES_A_TIME = 32
_THREADS = 2


@dataclass(frozen=True)
class Exclusion:
    """What a query shall not find: pictures of its own cameras, and files of the same content."""

    cameras: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()

    def condition(self) -> str | None:
        """Give it as SQL; None where it excludes nothing."""
        parts = [
            f"({column} IS NULL OR {column} NOT IN ({', '.join(map(sql_text, sorted(values)))}))"
            for column, values in (("camera", self.cameras), ("hash", self.hashes))
            if values
        ]
        return " AND ".join(parts) or None


@dataclass(frozen=True)
class Match:
    """A picture of the gallery.

    Attributes:
        path: Relative to the gallery.
        similarity: Cosine.
        columns: Those of `SHOWN` that are not null.
        pictures: Of a group: how many it has; else 1.
    """

    path: str
    similarity: float
    columns: dict[str, Any] = field(default_factory=dict)
    pictures: int = 1


def search_gallery(
    gallery: Gallery,
    queries: Tensor,
    top: int,
    *,
    where: str | None = None,
    without: Sequence[Exclusion] | None = None,
    approximate: bool = False,
) -> list[list[Match]]:
    """Rank a gallery for queries by cosine similarity, the most similar first.

    Memory does not grow with the gallery: it is read a few thousand rows at a time, once for all queries.

    Args:
        gallery: Where to look.
        queries: Q×D.
        top: Length of the lists; they are shorter where fewer pictures remain.
        where: SQL condition on the columns.
        without: What each query shall not find.
        approximate: Look in the nearest parts of an index alone, which is made or brought up to date first.

    Raises:
        UserError: The condition is none, or the features have another width, or hold NaN or infinity.
    """
    if queries.shape[1] != gallery.width:
        raise UserError(f"--index {gallery.place}: holds features of {gallery.width} numbers, not {queries.shape[1]}")
    if not len(queries) or top < 1:
        return [[] for _ in queries]
    condition = None if where is None else typed_condition(where)
    unit = unit_queries(queries)
    excluded = list(without or [Exclusion()] * len(unit))
    if approximate and _with_index(gallery):
        return _search_index(gallery, unit, top, condition, excluded)
    scores, rows = search_exactly(gallery, unit, top, condition, excluded)
    return _fetch(gallery, scores, rows)


def unit_queries(queries: Tensor) -> Tensor:
    """Bring the features of queries (Q×D) to length 1, on the CPU.

    Raises:
        UserError: One holds NaN or infinity.
    """
    numbers = [f"query {number}" for number in range(len(queries))]
    return F.normalize(require_numbers(queries.detach().to("cpu", torch.float32), numbers))


def search_exactly(
    gallery: Gallery, unit: Tensor, top: int, condition: str | None, without: Sequence[Exclusion]
) -> tuple[Tensor, Tensor]:
    """Compare all pictures with all queries.

    Args:
        gallery: Where to look.
        unit: Q×D of length 1, on the CPU.
        top: How many to keep of each query.
        condition: SQL with types.
        without: What each query shall not find.

    Returns:
        Similarities and offsets in the table, Q×top each; -inf where there are fewer.
    """
    best = torch.full((len(unit), top), -torch.inf)
    found = torch.zeros(len(unit), top, dtype=torch.int64)
    masks = _Masks(without)
    for features, rows, batch in scan(gallery, masks.columns, condition):
        # queries in parts, where they are many, so that similarities stay few
        for part in torch.arange(len(unit)).split(max(1, _SIMILARITIES // len(features))):
            similar = unit[part] @ features.T
            masks.apply(similar, batch, part)
            # most parts of a large gallery hold nothing that is near enough
            near = part[similar.amax(1) > best[part, -1]]
            if len(near):
                value, index = torch.topk(similar[near - part[0]], min(top, len(features)))
                value, order = torch.topk(torch.cat([best[near], value], 1), top)
                found[near] = torch.cat([found[near], rows[index]], 1).gather(1, order)
                best[near] = value
    return best, found


class _Masks:
    """Exclusions as masks of similarities."""

    def __init__(self, without: Sequence[Exclusion]) -> None:
        self._by_column: dict[str, tuple[Any, Tensor]] = {}
        for column, attribute in (("camera", "cameras"), ("hash", "hashes")):
            sets = [getattr(one, attribute) for one in without]
            values = sorted(set().union(*sets))
            if values:
                # the last column is of pictures with another value, or none
                mask = torch.tensor([[value in one for value in values] + [False] for one in sets])
                self._by_column[column] = (pa.array(values, pa.string()), mask)
        self.columns = list(self._by_column)

    def apply(self, similar: Tensor, batch: Any, part: Tensor) -> None:
        for column, (values, mask) in self._by_column.items():
            codes = np.asarray(pc.fill_null(pc.index_in(batch[column], values), len(values)))
            similar.masked_fill_(mask[part][:, torch.from_numpy(codes.astype(np.int64))], -torch.inf)


def _fetch(gallery: Gallery, scores: Tensor, rows: Tensor) -> list[list[Match]]:
    """Read the columns of what was found."""
    # rounding puts the cosine of equal features beyond 1, and a threshold of 1 accepts nothing
    scores = scores.clamp(max=1)
    needed = rows[scores > -torch.inf].unique()
    with engine_errors(f"--index {gallery.place}"):
        table = gallery.dataset.take(needed.tolist(), columns=["path", *SHOWN]).to_pylist()
    by_row = dict(zip(needed.tolist(), table, strict=True))
    return [
        [_match(by_row[row], score) for score, row in zip(*pair, strict=True) if score > -torch.inf]
        for pair in zip(scores.tolist(), rows.tolist(), strict=True)
    ]


def _match(row: dict[str, Any], score: float) -> Match:
    shown = {name: row[name] for name in SHOWN if row.get(name) is not None}
    return Match(file_name(row["path"]), score, shown)


def _with_index(gallery: Gallery) -> bool:
    """Make the index, or bring it up to date; False where the gallery is so small that there is none."""
    size = len(gallery)
    if size < _INDEXED_FROM:
        tell(f"--approximate: {size:,} pictures are searched exactly; an index is for {_INDEXED_FROM:,} and more")
        return False
    with gallery.writing(), engine_errors(f"--index {gallery.place}"):
        dataset = gallery.dataset
        if not any(index.name == _INDEX for index in dataset.describe_indices()):
            tell(f"--approximate: makes an index of {size:,} pictures, once")
            partitions = max(1, size // _PARTITION_ROWS)
            gallery.dataset = dataset.create_index(
                "feature", "IVF_RQ", name=_INDEX, metric="cosine", num_partitions=partitions
            )
        elif dataset.stats.index_stats(_INDEX)["num_unindexed_rows"] > _UNINDEXED * size:
            tell("--approximate: takes new pictures into the index")
            dataset.optimize.optimize_indices()
            dataset.checkout_latest()
    return True


def _search_index(
    gallery: Gallery, unit: Tensor, top: int, condition: str | None, without: Sequence[Exclusion]
) -> list[list[Match]]:
    """Take candidates from the index, whose features are of one bit, and rank these by their whole features."""
    partitions = max(1, len(gallery) // _PARTITION_ROWS)
    probed = min(partitions, max(_FEWEST_PROBED, round(partitions * _PROBED)))
    asked = max(_FEWEST_CANDIDATES, _CANDIDATES * top)

    def look(part: list[int]) -> Any:
        own = without[part[0]].condition()
        filters = [f"({text})" for text in (condition, own) if text is not None]
        nearest = {"column": "feature", "q": unit[part].numpy(), "k": asked, "nprobes": probed}
        table = gallery.dataset.scanner(
            columns=["_rowoffset", "_distance"],
            nearest=nearest,
            filter=" AND ".join(filters) or None,
            prefilter=True,
        ).to_table()
        number = table["query_index"].to_numpy() if "query_index" in table.column_names else np.zeros(len(table), int)
        return np.array(part)[number], table["_rowoffset"].to_numpy().astype(np.int64)

    # one question of the engine has one filter
    alike: dict[Exclusion, list[int]] = {}
    for number, exclusion in enumerate(without):
        alike.setdefault(exclusion, []).append(number)
    parts = [rows[i : i + _QUERIES_A_TIME] for rows in alike.values() for i in range(0, len(rows), _QUERIES_A_TIME)]
    what = f"--where {condition}" if condition else f"--index {gallery.place}"
    with engine_errors(what), ThreadPoolExecutor(_THREADS) as pool:
        answers = list(pool.map(look, parts))
    best = torch.full((len(unit), top), -torch.inf)
    found = torch.zeros(len(unit), top, dtype=torch.int64)
    for asking, rows in answers:
        needed, at = np.unique(rows, return_inverse=True)
        if not len(needed):
            continue
        features = features_at(gallery, needed)
        for query in np.unique(asking):
            index = torch.from_numpy(np.unique(at[asking == query]))
            value, order = torch.topk(features[index] @ unit[query], min(top, len(index)))
            best[query, : len(value)] = value
            found[query, : len(value)] = torch.from_numpy(needed)[index[order]]
    return _fetch(gallery, best, found)
