"""Ranked lists agree with the scores, and the choice of queries shows gains and losses alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intact_fast.config.options import EvaluationConfig
from intact_fast.evaluation.reranking import reranked_blocks
from intact_fast.reporting.ranked_lists import ap_changes, choose_queries, lists_by_view, ranked_lists
from reporting.conftest import Case, make_case, without


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_first_match_is_where_the_cmc_has_it(tmp_path: Path, rerank: bool, metric: str) -> None:
    config = EvaluationConfig(protocol="multi-shot", metric=metric, rerank=rerank)  # type: ignore[arg-type]
    evaluation = make_case(tmp_path, config).evaluation
    rows = range(len(evaluation.query_entries))
    for view in ("hr", "lr", "sr"):
        found = ranked_lists(evaluation, view, rows, top=10)
        cmc = evaluation.rankings[view].cmc_per_query
        for row, line in zip(rows, cmc, strict=True):
            first = found[row].first_match
            assert first is not None
            assert line.tolist() == [float(rank >= first) for rank in range(1, 11)]
            pids = [evaluation.gallery_entries[hit].pid for hit in found[row].rows]
            if first <= 10:
                assert pids.index(evaluation.query_entries[row].pid) == first - 1
            assert found[row].distances == sorted(found[row].distances)


def test_some_queries_have_the_lists_of_all(case: Case) -> None:
    every = ranked_lists(case.evaluation, "lr", range(24), top=5)
    some = ranked_lists(case.evaluation, "lr", [20, 3, 3], top=5)
    assert some.keys() == {3, 20}
    assert all(some[row].rows == every[row].rows for row in some)


def test_reranked_lists_are_of_all_queries_neighbours(case: Case) -> None:
    evaluation = replace(case.evaluation, config=EvaluationConfig(rerank=True))
    (_, block), *_ = reranked_blocks(evaluation.query_features["sr"], evaluation.gallery_features)
    found = ranked_lists(evaluation, "sr", [5], top=3)[5]
    np.testing.assert_array_equal(found.distances, np.sort(block[5])[:3])


def test_ties_count_against_the_query(case: Case) -> None:
    same = torch.ones_like(case.evaluation.gallery_features)
    query = {"lr": torch.ones_like(case.evaluation.query_features["lr"])}
    found = ranked_lists(replace(case.evaluation, gallery_features=same, query_features=query), "lr", [2], top=36)[2]
    assert found.first_match == 34
    assert [case.evaluation.gallery_entries[hit].pid == 1 for hit in found.rows] == [False] * 33 + [True] * 3


def test_junk_and_dropped_distractors_are_left_out(case: Case) -> None:
    evaluation = case.evaluation
    junk = [replace(entry, pid=-1) if i in (4, 5) else entry for i, entry in enumerate(evaluation.gallery_entries)]
    evaluation = replace(evaluation, gallery_entries=junk, config=EvaluationConfig(distractors="drop"))
    rows = ranked_lists(evaluation, "lr", [0], top=99, distractor_pid=7)[0].rows
    assert set(range(36)) - set(rows) == {0, 4, 5, 21, 22, 23}
    kept = replace(evaluation, config=EvaluationConfig(distractors="auto"))
    assert len(ranked_lists(kept, "lr", [0], top=99, distractor_pid=7)[0].rows) == 33


def test_the_querys_camera_where_it_is_kept(case: Case) -> None:
    """Of person 0 the first picture is of the queries' camera; the query's own file is left out wherever it stands."""
    config = EvaluationConfig(same_camera="keep")
    evaluation = replace(case.evaluation, config=config)
    assert set(ranked_lists(evaluation, "lr", [0], top=99)[0].rows) == set(range(36))
    path = evaluation.query_entries[0].path
    own = [replace(entry, path=path) if i == 2 else entry for i, entry in enumerate(evaluation.gallery_entries)]
    rows = ranked_lists(replace(evaluation, gallery_entries=own), "lr", [0], top=99)[0].rows
    assert set(range(36)) - set(rows) == {2}


def test_a_person_who_is_not_there_has_no_first_match(case: Case) -> None:
    entries = [replace(entry, pid=99) if i == 6 else entry for i, entry in enumerate(case.evaluation.query_entries)]
    assert ranked_lists(replace(case.evaluation, query_entries=entries), "sr", [6], top=3)[6].first_match is None


def test_gains_losses_and_a_sample_are_shown(case: Case) -> None:
    changes = ap_changes(case.evaluation)
    assert changes is not None
    assert (changes < 0).sum() >= 3
    choice = choose_queries(case.evaluation, 9)
    assert (len(choice.rows), choice.scored, choice.gains, choice.losses) == (9, 24, 3, 3)
    order = np.argsort(changes).tolist()
    assert {*order[:3], *order[-3:]} <= set(choice.rows)
    assert choice.rows == sorted(set(choice.rows))
    assert choose_queries(case.evaluation, 24).rows == list(range(24))
    assert choose_queries(case.evaluation, 1).rows == [0]


def test_only_scored_queries_are_shown(case: Case) -> None:
    valid = np.arange(24) % 2 == 0
    rankings = {
        view: replace(ranking, valid=valid, ap_per_query=ranking.ap_per_query[valid])
        for view, ranking in case.evaluation.rankings.items()
    }
    evaluation = replace(case.evaluation, rankings=rankings)
    for count in (6, 100):
        choice = choose_queries(evaluation, count)
        assert all(row % 2 == 0 for row in choice.rows)
        assert (len(choice.rows), choice.scored) == (min(count, 12), 12)


def test_without_a_view_there_is_no_change(case: Case) -> None:
    evaluation = without(case, "sr").evaluation
    assert ap_changes(evaluation) is None
    assert lists_by_view(evaluation, [0], 3).keys() == {"lr"}
    assert len(choose_queries(evaluation, 5).rows) == 5
