"""Distances of pairs and thresholds against the whole matrix and brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Entry
from intact_fast.evaluation import verification
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.evaluation.verification import PairDistances, pair_distances, thresholds
from intact_fast.evaluation.views import View
from intact_fast.reporting.histogram import save_histogram
from intact_fast.reporting.tables import threshold_figures, threshold_table

NAMES = {"lr": "LR queries without SR", "sr": "INTACT"}


def rows_of(pids: list[int], cameras: list[int]) -> list[Entry]:
    return [Entry(f"{i}.jpg", p, c, "query", False, None) for i, (p, c) in enumerate(zip(pids, cameras, strict=True))]


def make(
    query: list[Entry],
    gallery: list[Entry],
    features: dict[View, Tensor],
    of_gallery: Tensor,
    metric: Literal["euclidean", "cosine"] = "euclidean",
) -> Evaluation:
    """An evaluation of features that are given; pid 0 marks distractors."""
    identifiers = [np.array([getattr(r, n) for r in rows]) for n in ("pid", "camera") for rows in (query, gallery)]
    rankings = {v: evaluate_ranking(f, of_gallery, *identifiers, distractor_pid=0) for v, f in features.items()}
    config = EvaluationConfig(metric=metric)
    return Evaluation("made", "0" * 64, config, rankings, {}, query, gallery, features, of_gallery)


def random_evaluation(metric: Literal["euclidean", "cosine"] = "euclidean", ties: bool = False) -> Evaluation:
    """Thirty identities with junk, distractors, and queries without a match."""
    rng = np.random.default_rng(0)
    query = rows_of(rng.integers(1, 31, 80).tolist(), rng.integers(1, 4, 80).tolist())
    gallery = rows_of([-1, *rng.integers(0, 28, 300).tolist()], rng.integers(1, 4, 301).tolist())
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(31, 8, generator=generator)

    def features(rows: list[Entry], noise: float) -> Tensor:
        found = centres[[row.pid for row in rows]] + noise * torch.randn(len(rows), 8, generator=generator)
        return found.round() if ties else found

    views: dict[View, Tensor] = {"lr": features(query, 1.5), "sr": features(query, 0.8)}
    return make(query, gallery, views, features(gallery, 0.5), metric)


def brute_force(evaluation: Evaluation, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Matches and non-matches, pair by pair."""
    blocks = distance_blocks(evaluation.query_features[view], evaluation.gallery_features, evaluation.config.metric)
    matrix = np.concatenate([block for _, block in blocks])
    matches, others = [], []
    for i, query in enumerate(evaluation.query_entries):
        if not evaluation.rankings[view].valid[i]:
            continue
        for j, hit in enumerate(evaluation.gallery_entries):
            if hit.pid == query.pid and hit.camera != query.camera:
                matches.append(matrix[i, j])
            elif hit.pid not in (query.pid, -1):
                others.append(matrix[i, j])
    return np.sort(matches), np.sort(others)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("ties", [False, True])
def test_pairs_and_thresholds_of_brute_force(
    metric: Literal["euclidean", "cosine"], ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "distance_blocks", lambda q, g, metric: distance_blocks(q, g, metric, block=7))
    evaluation = random_evaluation(metric, ties)
    assert 0 < evaluation.rankings["sr"].valid.sum() < len(evaluation.query_entries)
    for view, pairs in pair_distances(evaluation).items():
        matches, others = brute_force(evaluation, view)
        assert pairs.total_non_matches == len(others)
        np.testing.assert_allclose(pairs.matches, matches, atol=1e-6)
        assert len(pairs.nearest_non_matches) == len(others) // 100 + 1
        np.testing.assert_allclose(pairs.nearest_non_matches, others[: len(others) // 100 + 1], atol=1e-6)
        assert (pairs.match_counts.sum(), pairs.non_match_counts.sum()) == (len(matches), len(others))
        found = thresholds(pairs)
        assert [threshold.rate for threshold in found] == [1e-2, 1e-3]
        for threshold in found:
            accepted = np.sort(others)[: len(pairs.nearest_non_matches)] < threshold.distance - 1e-6
            assert threshold.false_match_rate == accepted.sum() / len(others) <= threshold.rate
            assert threshold.true_match_rate == pytest.approx(np.mean(matches < threshold.distance - 1e-6), abs=1e-9)
            further = others[others >= threshold.distance - 1e-6][0]
            assert np.mean(others <= further + 1e-6) > threshold.rate, "no greater threshold would do"


def pairs_of(matches: list[float], others: list[float]) -> PairDistances:
    empty = np.zeros(1, np.int64)
    return PairDistances(
        np.array(matches, np.float32), np.array(others, np.float32), len(others), np.arange(2.0), empty, empty
    )


def test_ties_never_exceed_the_rate() -> None:
    """Of 100 non-matches 10 may be accepted, but the 10th to 12th are equally near."""
    others = [*range(9), 9.0, 9.0, 9.0, *range(20, 108)]
    (threshold,) = thresholds(pairs_of([1.0, 8.5, 9.0, 30.0], others), [0.1])
    assert threshold.distance == 9
    assert threshold.false_match_rate == 0.09
    assert threshold.true_match_rate == 0.5, "a match at the threshold is not accepted"
    (nothing,) = thresholds(pairs_of([0.0], [0.0] * 100), [0.1])
    assert (nothing.false_match_rate, nothing.true_match_rate) == (0, 0)


def test_rates_of_too_few_false_matches_are_left_out() -> None:
    others = list(map(float, range(1000)))
    assert [t.rate for t in thresholds(pairs_of([1.0], others))] == [1e-2]
    assert thresholds(pairs_of([1.0], others[:999])) == []


def test_junk_distractors_and_unscored_queries() -> None:
    query = rows_of([1, 2], [1, 1])
    gallery = rows_of([1, 1, 0, -1, 3], [1, 2, 2, 2, 2])
    evaluation = make(query, gallery, {"sr": torch.zeros(2, 1)}, torch.tensor([[1.0], [2], [3], [4], [5]]))
    pairs = pair_distances(evaluation)["sr"]
    assert pairs.matches.tolist() == [2]
    assert (pairs.total_non_matches, pairs.nearest_non_matches.tolist()) == (2, [3])
    assert "Too few non-matches" in threshold_table({"sr": pairs}, "euclidean", NAMES)


def test_matches_of_the_querys_camera_where_they_are_kept() -> None:
    """The query itself, the file 0.jpg, is in the gallery, too; it is no match of itself."""
    query, gallery = rows_of([1], [1]), rows_of([1, 1, 3, -1, 0], [1, 1, 1, 1, 1])
    twice = make(query, rows_of([9, 1], [1, 2]), {"sr": torch.zeros(1, 1)}, torch.zeros(2, 1))
    features = torch.tensor([[1.0], [2], [3], [4], [5]])
    kept = replace(
        twice, config=EvaluationConfig(same_camera="keep"), gallery_entries=gallery, gallery_features=features
    )
    pairs = pair_distances(kept)["sr"]
    assert pairs.matches.tolist() == [2]
    assert pairs.total_non_matches == 2
    assert "1 matches (the same person in any camera)" in threshold_table({"sr": pairs}, "euclidean", NAMES)


def test_distances_stay_plain_when_reranked() -> None:
    evaluation = random_evaluation()
    reranked = replace(evaluation, config=replace(evaluation.config, rerank=True))
    assert np.array_equal(pair_distances(evaluation)["sr"].matches, pair_distances(reranked)["sr"].matches)


def test_table_and_histogram(tmp_path: Path) -> None:
    measured = pair_distances(random_evaluation())
    table = threshold_table(measured, "euclidean", NAMES)
    header, _, first, second = [line for line in table.splitlines() if line.startswith("|")]
    assert header.split("|")[2:4] == [" LR queries without SR ", " INTACT "]
    assert first.startswith("| 1 % |")
    assert second.startswith("| 0.1 % |")
    printed = float(first.split("below ")[2].split(")")[0])
    exact = threshold_figures(measured, NAMES)["INTACT"][0]["distance"]
    assert exact - 1e-4 < printed <= exact
    save_histogram(measured, "euclidean", NAMES, tmp_path / "distances.png")
    with Image.open(tmp_path / "distances.png") as picture:
        assert picture.width > 800


def test_features_that_say_nothing(tmp_path: Path) -> None:
    query, gallery = rows_of([1, 2], [1, 1]), rows_of([1, 2, 3], [2, 2, 2])
    measured = pair_distances(make(query, gallery, {"sr": torch.zeros(2, 4)}, torch.zeros(3, 4)))
    assert measured["sr"].match_counts[0] == 2
    save_histogram(measured, "cosine", NAMES, tmp_path / "distances.png")
