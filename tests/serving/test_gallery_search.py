"""Search of a gallery against plain sorting: exact, approximate, filtered, by group, and pooled."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import lance
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast import UserError
from intact_fast.serving.gallery import (
    Exclusion,
    Gallery,
    Identity,
    Match,
    pool,
    scanning,
    search,
    search_gallery,
    search_groups,
)
from intact_fast.serving.gallery.conditions import typed_condition
from intact_fast.serving.gallery.scanning import features_at

SIZE, WIDTH = 700, 16


def make_gallery(place: Path) -> tuple[Gallery, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(SIZE, WIDTH, generator=generator))
    gallery = Gallery.open(place, Identity("m", "0", ""), WIDTH)
    values = [
        {"camera": str(i % 5), "track": None if i % 10 == 9 else f"t{i % 60}", "time": datetime(2024, 1, 1 + i % 20)}
        for i in range(SIZE)
    ]
    for begin in range(0, SIZE, 200):
        part = slice(begin, begin + 200)
        names = [f"{i}.jpg" for i in range(SIZE)][part]
        gallery.add(names, 3 * features[part], values[part])
    return gallery, features


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, Tensor]:
    return make_gallery(tmp_path_factory.mktemp("search") / "g.lance")


@pytest.fixture
def queries() -> Tensor:
    return F.normalize(torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(1)))


def names(lists: list[list[Match]]) -> list[list[str]]:
    return [[match.path for match in matches] for matches in lists]


def expected(queries: Tensor, features: Tensor, keep: list[int], top: int) -> list[list[str]]:
    order = (queries @ features[keep].T).argsort(dim=1, descending=True)[:, :top]
    return [[f"{keep[i]}.jpg" for i in row] for row in order.tolist()]


@pytest.mark.parametrize("rows", [1, 64, 16384])
def test_lists_are_those_of_sorting(
    made: tuple[Gallery, Tensor], queries: Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, features = made
    monkeypatch.setattr(scanning, "_ROWS", rows)
    monkeypatch.setattr(search, "_SIMILARITIES", 1000)
    found = search_gallery(gallery, queries, 7)
    assert names(found) == expected(queries, features, list(range(SIZE)), 7)
    best = (queries @ features.T).max(dim=1).values
    torch.testing.assert_close(torch.tensor([matches[0].similarity for matches in found]), best)


def test_no_similarity_is_beyond_one(made: tuple[Gallery, Tensor]) -> None:
    gallery, features = made
    assert float((features * features).sum(dim=1).max()) > 1
    found = search_gallery(gallery, features, 1)
    assert max(matches[0].similarity for matches in found) == 1


def test_a_short_gallery_gives_short_lists(made: tuple[Gallery, Tensor], queries: Tensor) -> None:
    gallery, _ = made
    assert [len(matches) for matches in search_gallery(gallery, queries[:2], 2 * SIZE)] == [SIZE, SIZE]
    assert search_gallery(gallery, queries[:0], 3) == []
    with pytest.raises(UserError, match="holds features of 16 numbers, not 8"):
        search_gallery(gallery, torch.ones(1, 8), 3)


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("camera != 3", lambda i: i % 5 != 3),
        ("camera in (1, 2)", lambda i: i % 5 in (1, 2)),
        ("time between '2024-01-03' and '2024-01-05T12:00:00'", lambda i: 2 <= i % 20 <= 4),
        ("cast(camera AS INT) < 2 and track is not null", lambda i: i % 5 < 2 and i % 10 != 9),
        ("path = 'none'", lambda i: False),
    ],
)
def test_conditions(made: tuple[Gallery, Tensor], queries: Tensor, where: str, keep: object) -> None:
    gallery, features = made
    kept = [i for i in range(SIZE) if keep(i)]  # type: ignore[operator]
    assert names(search_gallery(gallery, queries, 5, where=where)) == expected(queries, features, kept, 5)


def test_conditions_get_types() -> None:
    assert typed_condition("camera=3 AND path != 'a''3'") == "camera='3' AND path != 'a''3'"
    assert typed_condition("time > '20240131_101500'") == "time > timestamp '2024-01-31 10:15:00'"
    assert typed_condition("width > 30 or person = 7") == "width > 30 or person = '7'"


def test_exclusions_are_of_each_query(made: tuple[Gallery, Tensor], queries: Tensor) -> None:
    gallery, features = made
    without = [Exclusion(frozenset([str(i % 5), "1"])) if i % 3 else Exclusion() for i in range(len(queries))]
    found = names(search_gallery(gallery, queries, 5, without=without))
    for i, query in enumerate(queries):
        kept = [j for j in range(SIZE) if i % 3 == 0 or j % 5 not in (i % 5, 1)]
        assert found[i] == expected(query[None], features, kept, 5)[0]


def tracks(where: object = lambda i: True) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i in range(SIZE):
        if i % 10 != 9 and where(i):  # type: ignore[operator]
            found.setdefault(f"t{i % 60}", []).append(i)
    return found


@pytest.mark.parametrize("a_time", [7, 1000])
def test_groups_by_their_mean(
    made: tuple[Gallery, Tensor], queries: Tensor, a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, features = made
    monkeypatch.setattr("intact_fast.serving.gallery.grouping._GROUPS_A_TIME", a_time)
    groups = tracks(lambda i: i % 5 != 3)
    means = F.normalize(torch.stack([features[rows].sum(0) for rows in groups.values()]))
    wanted = (queries @ means.T).argsort(dim=1, descending=True)[:, :4]
    found = search_groups(gallery, queries, 4, "track", "mean", where="camera != 3")
    for query, row, matches in zip(queries, wanted.tolist(), found, strict=True):
        assert [match.columns["track"] for match in matches] == [list(groups)[i] for i in row]
        for match in matches:
            members = groups[match.columns["track"]]
            assert match.pictures == len(members)
            assert match.path == f"{members[int((features[members] @ query).argmax())]}.jpg"


def test_groups_by_their_best_picture(made: tuple[Gallery, Tensor], queries: Tensor) -> None:
    gallery, features = made
    groups = tracks()
    best = torch.stack([(queries @ features[rows].T).max(dim=1).values for rows in groups.values()], 1)
    found = search_groups(gallery, queries, 50, "track", "best")
    for row, matches in zip(best.argsort(dim=1, descending=True)[:, :50].tolist(), found, strict=True):
        assert [match.columns["track"] for match in matches] == [list(groups)[i] for i in row]
    assert [match.path for match in found[0]][:1] == names(
        search_gallery(gallery, queries[:1], 1, where="track is not null")
    )[0]


def test_pooled_features_are_means() -> None:
    features = F.normalize(torch.randn(5, 4))
    pooled, keys = pool(features, ["b", "a", "b", "a", "b"])
    assert keys == ["b", "a"]
    torch.testing.assert_close(pooled, F.normalize(torch.stack([features[::2].sum(0), features[1::2].sum(0)])))


def test_an_index_finds_nearly_the_same(
    tmp_path: Path, queries: Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, _ = make_gallery(tmp_path / "g.lance")
    assert names(search_gallery(gallery, queries, 5, approximate=True)) == names(search_gallery(gallery, queries, 5))
    assert "700 pictures are searched exactly" in capsys.readouterr().err
    monkeypatch.setattr(search, "_INDEXED_FROM", 100)
    monkeypatch.setattr(search, "_PARTITION_ROWS", 100)
    without = [Exclusion(frozenset(["0"]))] + [Exclusion()] * 19
    for _ in range(2):
        found = names(search_gallery(gallery, queries, 5, where="camera != 3", without=without, approximate=True))
    assert capsys.readouterr().err.count("makes an index") == 1
    exact = names(search_gallery(gallery, queries, 5, where="camera != 3", without=without))
    assert sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) >= 0.95 * 100
    # new pictures are found before the index knows them
    gallery.add(["new.jpg"], queries[:1])
    assert search_gallery(gallery, queries[:1], 1, approximate=True)[0][0].path == "new.jpg"
    gallery.add([f"new{i}.jpg" for i in range(100)], torch.randn(100, WIDTH))
    search_gallery(gallery, queries[:1], 1, approximate=True)
    assert "takes new pictures into the index" in capsys.readouterr().err
    gallery.delete("path = 'new.jpg'")
    assert search_gallery(gallery, queries[:1], 1, approximate=True)[0][0].path != "new.jpg"


_SEARCH_PART = """
import json, sys, torch
from intact_fast.serving.gallery import Gallery, search_gallery
found = search_gallery(Gallery.open(sys.argv[1]), torch.load(sys.argv[2]), 6)
print(json.dumps([[[match.similarity, match.path] for match in matches] for matches in found]))
"""


def test_two_servers_give_the_lists_of_one(made: tuple[Gallery, Tensor], queries: Tensor, tmp_path: Path) -> None:
    """Each holds a half of the gallery; the longer list is merged from both."""
    gallery, features = made
    for part in range(2):
        half = Gallery.open(tmp_path / f"{part}.lance", gallery.identity, WIDTH)
        half.add([f"{i}.jpg" for i in range(part, SIZE, 2)], features[part::2])
    torch.save(queries, tmp_path / "queries.pt")
    commands = [
        [sys.executable, "-c", _SEARCH_PART, str(tmp_path / f"{part}.lance"), str(tmp_path / "queries.pt")]
        for part in range(2)
    ]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    answers = [json.loads(server.communicate(timeout=120)[0]) for server in servers]
    merged = [[path for _, path in sorted(a + b, reverse=True)[:6]] for a, b in zip(*answers, strict=True)]
    assert merged == names(search_gallery(gallery, queries, 6))


def test_other_engines_read_the_same_files(made: tuple[Gallery, Tensor], queries: Tensor) -> None:
    gallery, _ = made
    connection = duckdb.connect()
    connection.register("pictures", gallery.dataset)
    assert connection.sql("SELECT count(*) FROM pictures WHERE camera = '3'").fetchall() == [(SIZE // 5,)]
    query = queries[0].tolist()
    similarity = f"array_inner_product(feature, {query}::FLOAT[{WIDTH}])"
    found = connection.sql(f"SELECT path FROM pictures ORDER BY {similarity} DESC LIMIT 5").fetchall()
    assert [path for (path,) in found] == names(search_gallery(gallery, queries[:1], 5))[0]


def test_an_object_store_holds_a_gallery(queries: Tensor) -> None:
    place = "memory://bucket/g.lance"
    gallery = Gallery.open(place, Identity("m", "0", ""), WIDTH)
    gallery.add(["a.jpg"], queries[:1])
    assert names(search_gallery(gallery, queries[:1], 3)) == [["a.jpg"]]


def test_features_are_read_the_same_in_place_and_by_the_engine(
    queries: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, features = make_gallery(tmp_path / "g.lance")
    monkeypatch.setattr(scanning, "_ROWS", 150)
    read = torch.cat([part.clone() for part, _, _ in scanning.scan(gallery, [], None)])
    torch.testing.assert_close(read, features)
    assert all(part.is_in_place for part in gallery.parts())
    some = np.array([0, 3, 199, 200, 450, 699])
    torch.testing.assert_close(features_at(gallery, some), features[some])
    # rows that were deleted lie in the file still
    gallery.delete("path IN ('0.jpg', '3.jpg', '450.jpg')")
    kept = [i for i in range(SIZE) if i not in (0, 3, 450)]
    assert [part.is_in_place for part in gallery.parts()] == [False, True, False, True]
    torch.testing.assert_close(features_at(gallery, some[1:5]), features[kept][some[1:5]])
    read = torch.cat([part.clone() for part, _, _ in scanning.scan(gallery, [], None)])
    torch.testing.assert_close(read, features[kept])
    assert names(search_gallery(gallery, queries, 5)) == expected(queries, features, kept, 5)
    kept = [i for i in kept if i % 5 == 2]
    assert names(search_gallery(gallery, queries, 5, where="camera = 2")) == expected(queries, features, kept, 5)
    # a newer format is read by the engine
    place = str(tmp_path / "newer.lance")
    lance.write_dataset(gallery.dataset.to_table(), place, data_storage_version="2.1")
    newer = Gallery.open(place)
    assert not any(part.is_in_place for part in newer.parts())
    assert names(search_gallery(newer, queries, 5, where="camera = 2")) == expected(queries, features, kept, 5)
