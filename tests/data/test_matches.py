"""Which queries have a match, under both rules of the query's camera."""

from __future__ import annotations

import numpy as np
import pytest

from intact_fast.data.manifest import Entry, Header, Manifest, Split
from intact_fast.data.matches import camids_for_matching, count_matches, require_matches
from intact_fast.errors import UserError

Rows = list[tuple[int, int]]


def split_of(query: Rows, gallery: Rows, distractor_pid: int | None = None) -> Manifest:
    """A split of people and cameras; each picture is a file of its own."""
    sides: tuple[tuple[Split, Rows], ...] = (("query", query), ("gallery", gallery))
    entries = [
        Entry(f"{side}{number}.png", pid, camera, side, side == "query", None)
        for side, rows in sides
        for number, (pid, camera) in enumerate(rows)
    ]
    return Manifest(Header("folder", 0, "bilinear", None, None, distractor_pid), tuple(entries))


def test_one_camera_is_refused_with_counts_and_a_remedy() -> None:
    manifest = split_of([(4, 1), (4, 1), (5, 1)], [(4, 1), (5, 1), (6, 1)])
    with pytest.raises(UserError) as refused:
        require_matches(manifest, "drop")
    text = str(refused.value)
    assert "3 queries of 2 people in camera 1; gallery: 3 pictures of 3 people in camera 1" in text
    assert "in another camera: 0, without: 3" in text
    assert text.endswith("give --evaluation.same-camera keep")
    assert "\n" not in text
    require_matches(manifest, "keep")
    assert count_matches(manifest, "keep").found == 3


def test_people_who_are_nowhere_in_the_gallery_need_other_identities() -> None:
    """No rule of cameras helps there."""
    manifest = split_of([(1, 1), (2, 2)], [(3, 1), (4, 2)])
    for rule in ("drop", "keep"):
        with pytest.raises(UserError, match=r"no query's person is in the gallery .*same identity in queries and gall"):
            require_matches(manifest, rule)


def test_some_queries_without_a_match_are_told() -> None:
    manifest = split_of([(1, 1), (2, 1), (3, 1), (9, 1)], [(1, 2), (2, 1), (3, 1), (3, 3)])
    told: list[str] = []
    require_matches(manifest, "drop", told.append)
    assert len(told) == 1
    assert "folder: 2 of 4 queries have no match in another camera" in told[0]
    assert "for 1 of them the only match is in the query's own camera" in told[0]
    told.clear()
    require_matches(manifest, "keep", told.append)
    assert told == ["folder: 1 of 4 queries have no match in the gallery and are not scored"]
    require_matches(split_of([(1, 1)], [(1, 2)]), "drop", told.append)
    assert len(told) == 1, "nothing to say"


def test_nobody_matches_junk_or_distractors() -> None:
    manifest = split_of([(-1, 1), (0, 1), (2, 1)], [(-1, 2), (0, 2), (2, 2)], distractor_pid=0)
    for rule in ("drop", "keep"):
        matches = count_matches(manifest, rule)
        assert (matches.found, matches.missing) == (1, 2)
        assert (matches.queries.people, matches.gallery.people) == (1, 1)


def test_a_query_that_is_in_the_gallery_is_not_its_own_match() -> None:
    same = Entry("a.png", 1, 1, "query", True, 2)
    other = Entry("b.png", 1, 1, "gallery", False, None)
    twin = Entry("a.png", 1, 1, "gallery", False, None)
    of_query, of_gallery = camids_for_matching([same], [twin, other], "keep")
    assert np.equal(of_query[0], of_gallery).tolist() == [True, False]
    of_query, of_gallery = camids_for_matching([same], [twin, other], "drop")
    assert (of_query.tolist(), of_gallery.tolist()) == ([1], [1, 1])
    header = Header("folder", 0, "bilinear", None, 1, None)
    assert count_matches(Manifest(header, (same, twin)), "keep").found == 0
    assert count_matches(Manifest(header, (same, twin, other)), "keep").found == 1
