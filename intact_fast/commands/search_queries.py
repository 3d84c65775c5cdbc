"""The queries of ``intact-fast search``: their features, what they shall not find, and several pictures as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from intact_fast.commands.progress_bar import progress
from intact_fast.errors import UserError, warn
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.gallery import Exclusion, pool
from intact_fast.serving.gallery.columns import ColumnSource, Values
from intact_fast.serving.gallery.computing import read_crop
from intact_fast.serving.picture_reading import Unreadable, read_readable
from intact_fast.serving.sr_reid import SRReID

FoundT = TypeVar("FoundT")


class QueryOptions(Protocol):
    """Options that concern queries."""

    @property
    def pool(self) -> bool: ...  # noqa: D102
    @property
    def not_own_camera(self) -> bool: ...  # noqa: D102
    @property
    def not_self(self) -> bool: ...  # noqa: D102
    @property
    def json(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Queries:
    """Queries in the order of their pictures.

    Attributes:
        names: File, or the person or folder of several files.
        pictures: A picture of each, the first.
        features: Q×D of length 1.
        without: What each shall not find.
        heights: Of these pictures, in pixels.
    """

    names: list[str]
    pictures: list[Path]
    features: Tensor
    without: list[Exclusion]
    heights: list[int]

    def shown_as(self, found: Mapping[str, FoundT]) -> dict[Path, FoundT]:
        """Give what was found by the picture that shows a query."""
        return {picture: found[name] for name, picture in zip(self.names, self.pictures, strict=True)}


def read_queries(
    source_path: Path,
    pictures: Sequence[Path],
    model: SRReID,
    unreadable: Unreadable,
    source: ColumnSource | None,
    options: QueryOptions,
) -> Queries:
    """Read pictures and compute their features; one forward pass after another, so that memory stays small.

    Args:
        source_path: The picture or folder that was given; names and columns are relative to it.
        pictures: What it holds.
        model: Computes features.
        unreadable: Takes those that are left out.
        source: Gives columns.
        options: What is asked for.

    Raises:
        UserError: No query has a camera, and own cameras shall be left out.
    """
    folder = source_path.parent if source_path.is_file() else source_path
    paths: list[Path] = []
    features = [torch.empty(0, model.feature_dim)]
    values: list[Values] = []
    with progress("queries", len(pictures), options.json) as advance:
        for good, crops in read_readable(pictures, read_crop, model.batch_size, model.threads, unreadable):
            if crops:
                computed = model([crop.image for crop in crops], normalize=True)
                features.append(require_numbers(computed, good).cpu())
                for path, crop in zip(good, crops, strict=True):
                    given = source.values_of(path.relative_to(folder).as_posix()) if source else {}
                    paths.append(path)
                    values.append({**given, **crop.values})
            advance(len(good))
    without = _exclusions(values, options)
    heights = [one["height"] for one in values]
    if not options.pool:
        return Queries(list(map(str, paths)), paths, torch.cat(features), without, heights)
    keys = [str(one.get("person") or path.parent) for path, one in zip(paths, values, strict=True)]
    pooled, names = pool(torch.cat(features), keys)
    first = dict(reversed(list(zip(keys, zip(paths, heights, strict=True), strict=True))))
    joined = {key: [one for k, one in zip(keys, without, strict=True) if k == key] for key in first}
    together = [
        Exclusion(
            frozenset().union(*(one.cameras for one in joined[str(name)])),
            frozenset().union(*(one.hashes for one in joined[str(name)])),
        )
        for name in names
    ]
    shown, rows = zip(*(first[str(name)] for name in names), strict=True) if names else ((), ())
    return Queries(list(map(str, names)), list(shown), pooled, together, list(rows))


def _exclusions(values: Sequence[Values], options: QueryOptions) -> list[Exclusion]:
    cameras = [one.get("camera") for one in values]
    if options.not_own_camera and values:
        if not any(cameras):
            raise UserError(
                "--not-own-camera: no query has a camera; give --columns-pattern or --columns that fits the queries"
            )
        if not all(cameras):
            warn(f"--not-own-camera: {cameras.count(None):,} queries have no camera, and find pictures of all")
    return [
        Exclusion(
            frozenset([camera]) if options.not_own_camera and camera else frozenset(),
            frozenset([one["hash"]]) if options.not_self else frozenset(),
        )
        for camera, one in zip(cameras, values, strict=True)
    ]
