"""Open-set figures against searches that are made one by one, each with its own gallery."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.test_verification import make, random_evaluation, rows_of
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.open_set import identifications
from intact_fast.evaluation.verification import pair_similarities
from intact_fast.evaluation.views import View


def plain_searches(evaluation: Evaluation, view: View) -> tuple[list[tuple[float, bool]], list[float]]:
    """Make each search over a gallery of its own, picture by picture.

    Returns:
        Of each mated search the similarity of its first candidate and whether that is the person, and of each
        non-mated one the similarity of its first candidate.
    """
    sides = evaluation.query_features[view], evaluation.gallery_features
    query, gallery = (torch.nn.functional.normalize(side.double()) for side in sides)
    mated, strangers = [], []
    for i, asked in enumerate(evaluation.query_entries):
        if not evaluation.rankings[view].valid[i]:
            continue
        for leave_out_person in (False, True):
            candidates = []
            for j, hit in enumerate(evaluation.gallery_entries):
                is_person = hit.pid == asked.pid
                if hit.pid == -1 or (is_person and (leave_out_person or hit.camera == asked.camera)):
                    continue
                candidates.append((round(float(query[i] @ gallery[j]), 9), is_person))
            # of equal ones the wrong one stands first
            first = max(candidates, key=lambda one: (one[0], not one[1]))
            if leave_out_person:
                strangers.append(first[0])
            else:
                mated.append(first)
    return mated, strangers


@pytest.mark.parametrize("ties", [False, True])
def test_rates_are_those_of_single_searches(ties: bool) -> None:
    evaluation = random_evaluation(ties=ties)
    for view, pairs in pair_similarities(evaluation).items():
        mated, strangers = plain_searches(evaluation, view)
        rates = [0.5, 0.2]
        found = identifications(pairs, rates)
        assert [one.rate for one in found] == rates
        for one in found:
            limit = one.similarity + 1e-6
            assert one.false_positive_rate == np.mean([similarity > limit for similarity in strangers]) <= one.rate
            assert np.mean([similarity > limit - 2e-6 for similarity in strangers]) > one.rate
            assert one.detection_rate == np.mean([right and similarity > limit for similarity, right in mated])
        assert 0 < found[1].detection_rate < found[0].detection_rate < 1


def test_rates_of_too_few_queries_are_left_out() -> None:
    pairs = pair_similarities(random_evaluation())["sr"]
    assert 50 <= len(pairs.best_matches) < 100
    assert [one.rate for one in identifications(pairs, [0.5, 0.1])] == [0.5]


def test_a_stranger_who_resembles_more_is_no_detection() -> None:
    """Of twenty queries ten have a distractor that resembles them as much as their own person."""
    query = rows_of(list(range(1, 21)), [1] * 20)
    angles = torch.arange(20) * 0.3
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    gallery = rows_of([*range(1, 21), *[0] * 10], [2] * 30)
    evaluation = make(query, gallery, {"sr": features}, torch.cat([features, features[:10]]))
    (found,) = identifications(pair_similarities(evaluation)["sr"], [0.5])
    assert found.similarity == pytest.approx(float(np.cos(0.3)), abs=1e-6)
    assert found.detection_rate == 0.5
    assert found.false_positive_rate == 0.5
