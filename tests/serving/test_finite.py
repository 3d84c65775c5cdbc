"""Features and pictures that are not numbers are refused where they arise, with the picture's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from conftest import write_picture
from intact_fast import SRReID, UserError
from intact_fast.models import build_osnet
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.gallery import Gallery, Identity, search_gallery, search_groups, update_gallery
from intact_fast.serving.gallery.parquet_files import read_into
from intact_fast.serving.picture_reading import Unreadable, list_pictures

IDENTITY = Identity("m.safetensors", "0" * 64, "mode=auto")
NAN = float("nan")


def features(rows: int, bad: dict[int, float] | None = None) -> Tensor:
    found = torch.randn(rows, 512, generator=torch.Generator().manual_seed(0))
    for row, value in (bad or {}).items():
        found[row, 7] = value
    return found


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_the_first_such_picture_is_named(value: float) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg"]
    assert require_numbers(features(3), names) is not None
    with pytest.raises(UserError, match=re.escape("b.jpg: its feature is not a number (2 of 3 pictures")):
        require_numbers(features(3, {1: value, 2: value}), names)


def test_no_such_feature_gets_into_a_gallery(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    with pytest.raises(UserError, match=r"b\.jpg: its feature is not a number"):
        gallery.add(["a.jpg", "b.jpg"], features(2, {1: NAN}))
    assert len(gallery) == 0


def test_a_model_that_has_diverged_adds_nothing(tmp_path: Path) -> None:
    write_picture(tmp_path / "in" / "0.jpg", seed=0)
    critic = build_osnet("osnet_x0_25", 5)
    with torch.no_grad():
        next(critic.fc.parameters()).fill_(NAN)
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    listed = list_pictures(tmp_path / "in").pictures
    with pytest.raises(UserError, match=r"0\.jpg: its feature is not a number .* use another model, or --precision"):
        update_gallery(gallery, SRReID(critic, None, (48, 32)), tmp_path / "in", listed, Unreadable())
    assert len(gallery) == 0


def test_such_a_query_is_refused(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    gallery.add(["a.jpg", "b.jpg"], features(2), [{"person": "a"}, {"person": "b"}])
    queries = features(3, {2: NAN})
    with pytest.raises(UserError, match="query 2: its feature is not a number"):
        search_gallery(gallery, queries, 1)
    with pytest.raises(UserError, match="query 2: its feature is not a number"):
        search_groups(gallery, queries, 1, "person")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (features(2, {1: NAN}).tolist(), r"x\.parquet: b\.jpg: its feature is not a number"),
        ([features(1)[0].tolist(), None], r"x\.parquet: b\.jpg: has no feature"),
    ],
    ids=["not a number", "none"],
)
def test_such_a_row_of_another_system_is_refused(tmp_path: Path, rows: list[Any], expected: str) -> None:
    column = pa.array(rows, pa.list_(pa.float32(), 512))
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "feature": column}), tmp_path / "x.parquet")
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    with pytest.raises(UserError, match=expected):
        read_into(gallery, tmp_path / "x.parquet", IDENTITY)
    assert len(gallery) == 0
