"""Similarities of pairs and thresholds against the whole matrix and brute force."""

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
from intact_fast.evaluation.verification import PairSimilarities, accepted, pair_similarities, thresholds
from intact_fast.evaluation.views import View
from intact_fast.reporting.histogram import save_histogram
from intact_fast.reporting.threshold_tables import markdown_thresholds, threshold_figures, threshold_tables
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds

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


def towards(similarities: list[float]) -> Tensor:
    """Directions of N×2 with these cosines to the first axis."""
    cosines = torch.tensor(similarities, dtype=torch.float32)
    return torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)


def brute_force(evaluation: Evaluation, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Matches and non-matches, pair by pair."""
    unit = (torch.nn.functional.normalize(f) for f in (evaluation.query_features[view], evaluation.gallery_features))
    matrix = (next(unit) @ next(unit).T).numpy()
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
    for view, pairs in pair_similarities(evaluation).items():
        matches, others = brute_force(evaluation, view)
        assert pairs.total_non_matches == len(others)
        np.testing.assert_allclose(pairs.matches, matches, atol=1e-6)
        kept = len(others) // 10 + 1
        np.testing.assert_allclose(pairs.highest_non_matches, others[-kept:], atol=1e-6)
        assert (pairs.match_counts.sum(), pairs.non_match_counts.sum()) == (len(matches), len(others))
        found = thresholds(pairs)
        assert [threshold.rate for threshold in found] == [1e-1, 1e-2, 1e-3]
        for threshold in found:
            limit = threshold.similarity + 1e-6
            assert threshold.false_match_rate == np.mean(others > limit) <= threshold.rate
            assert threshold.true_match_rate == pytest.approx(np.mean(matches > limit), abs=1e-9)
            assert np.mean(others > threshold.similarity - 1e-6) > threshold.rate, "no smaller threshold would do"
            assert accepted(pairs, threshold.similarity) == (threshold.true_match_rate, threshold.false_match_rate)
        true, false = accepted(pairs, float(others[0]))
        assert false is None, "it accepts more than the pairs that were kept"
        assert true == np.mean(pairs.matches > others[0])


def pairs_of(matches: list[float], others: list[float]) -> PairSimilarities:
    empty, best = np.zeros(1, np.int64), np.zeros(1, np.float32)
    ascending = (np.sort(np.array(values, np.float32)) for values in (matches, others))
    return PairSimilarities(next(ascending), next(ascending), len(others), best, best, 1, empty, empty)


def test_ties_never_exceed_the_rate() -> None:
    """Of 100 non-matches 10 may be accepted, but the 10th to 12th are equally similar."""
    others = [*(1 - np.arange(9) / 100), 0.5, 0.5, 0.5, *(-np.arange(88) / 100)]
    (threshold,) = thresholds(pairs_of([1.0, 0.75, 0.5, 0.25], others), [0.1])
    assert threshold.similarity == 0.5
    assert threshold.false_match_rate == 0.09
    assert threshold.true_match_rate == 0.5, "a match at the threshold is not accepted"
    (nothing,) = thresholds(pairs_of([1.0], [1.0] * 100), [0.1])
    assert (nothing.false_match_rate, nothing.true_match_rate) == (0, 0)


def test_rates_of_too_few_false_matches_are_left_out() -> None:
    others = np.linspace(-1, 1, 1000).tolist()
    assert [t.rate for t in thresholds(pairs_of([1.0], others))] == [1e-1, 1e-2]
    assert [t.rate for t in thresholds(pairs_of([1.0], others[:999]))] == [1e-1]
    assert thresholds(pairs_of([1.0], others[:99])) == []


def test_junk_distractors_and_unscored_queries() -> None:
    query = rows_of([1, 2], [1, 1])
    gallery = rows_of([1, 1, 0, -1, 3], [1, 2, 2, 2, 2])
    evaluation = make(query, gallery, {"sr": towards([1, 1])}, towards([0.1, 0.2, 0.3, 0.4, 0.5]))
    pairs = pair_similarities(evaluation)["sr"]
    np.testing.assert_allclose(pairs.matches, [0.2], atol=1e-6)
    np.testing.assert_allclose(pairs.highest_non_matches, [0.5], atol=1e-6)
    assert (pairs.total_non_matches, pairs.people) == (2, 1)
    text = markdown_thresholds(threshold_tables({"sr": pairs}, NAMES, None))
    assert "Too few non-matches" in text
    assert "the model has no thresholds" in text


def test_matches_of_the_querys_camera_where_they_are_kept() -> None:
    """The query itself, the file 0.jpg, is in the gallery, too; it is no match of itself."""
    query, gallery = rows_of([1], [1]), rows_of([1, 1, 3, -1, 0], [1, 1, 1, 1, 1])
    twice = make(query, rows_of([9, 1], [1, 2]), {"sr": towards([1])}, towards([1, 1]))
    features = towards([0.1, 0.2, 0.3, 0.4, 0.5])
    kept = replace(
        twice, config=EvaluationConfig(same_camera="keep"), gallery_entries=gallery, gallery_features=features
    )
    pairs = pair_similarities(kept)["sr"]
    np.testing.assert_allclose(pairs.matches, [0.2], atol=1e-6)
    assert pairs.total_non_matches == 2
    text = markdown_thresholds(threshold_tables({"sr": pairs}, NAMES, None))
    assert "1 matches (the same person in any camera)" in text


def test_similarities_do_not_depend_on_how_the_table_was_ranked() -> None:
    """A search prints the cosine, whatever the table was ranked by."""
    evaluation = random_evaluation()
    expected = pair_similarities(evaluation)["sr"].matches
    for changed in ({"rerank": True}, {"metric": "cosine"}):
        ranked = replace(evaluation, config=replace(evaluation.config, **changed))
        assert np.array_equal(pair_similarities(ranked)["sr"].matches, expected)


def test_table_and_histogram(tmp_path: Path) -> None:
    measured = pair_similarities(random_evaluation())
    step = Threshold(1e-2, 0.5, 0.009, 0.9)
    model = Thresholds("made, held-out training people", {"sr": ViewThresholds(20, 1000, 5, (step,))})
    of_model, of_pairs, of_searches = threshold_tables(measured, NAMES, model)
    assert of_model.cells[1][:4] == ["1 %", "INTACT", "0.5000", "90.0 %"]
    true, false = accepted(measured["sr"], 0.5)
    assert of_model.cells[1][4:] == [f"{100 * true:.1f} %", "over 10 %" if false is None else f"{100 * false:.3g} %"]
    header, *rows = of_pairs.cells
    assert header[1:] == ["LR queries without SR", "INTACT"]
    assert [row[0] for row in rows] == ["10 %", "1 %", "0.1 %"]
    printed = float(rows[1][2].split("above ")[1].split(")")[0])
    numbers = threshold_figures(measured, NAMES, model)
    exact = numbers["thresholds"]["INTACT"][1]["similarity"]
    assert exact <= printed < exact + 1e-4
    assert numbers["model_thresholds"]["views"]["sr"]["steps"][0]["similarity"] == 0.5
    # too few queries to say what happens once in a hundred searches
    assert of_searches.cells == []
    text = markdown_thresholds([of_model, of_pairs, of_searches])
    assert text.count("### ") == 3
    save_histogram(measured, NAMES, tmp_path / "similarities.png")
    with Image.open(tmp_path / "similarities.png") as picture:
        assert picture.width > 800


def test_features_that_say_nothing(tmp_path: Path) -> None:
    query, gallery = rows_of([1, 2], [1, 1]), rows_of([1, 2, 3], [2, 2, 2])
    measured = pair_similarities(make(query, gallery, {"sr": torch.zeros(2, 4)}, torch.zeros(3, 4)))
    # a zero vector resembles nothing
    assert measured["sr"].match_counts[1024] == 2
    save_histogram(measured, NAMES, tmp_path / "similarities.png")
