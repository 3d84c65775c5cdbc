"""Features that are already on a GPU: same figures as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intact_fast.evaluation.distances import Metric, distance_blocks
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.evaluation.reranking import Reranking

pytestmark = pytest.mark.cuda


def features_and_ids(integers: bool) -> tuple[torch.Tensor, torch.Tensor, tuple[np.ndarray, ...]]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 64))
    pids = random.integers(0, 40, 60), random.integers(0, 40, 1500)
    features = [torch.from_numpy(centres[p] + random.normal(size=(len(p), 64))).float() for p in pids]
    if integers:
        # Sums of products of small integers are exact in any order.
        features = [f.round() for f in features]
    camids = random.integers(1, 4, 60), random.integers(1, 4, 1500)
    return features[0], features[1], (*pids, *camids)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_agree(metric: Metric) -> None:
    query, gallery, _ = features_and_ids(integers=False)
    ours, theirs = (
        np.concatenate([block for _, block in distance_blocks(query.to(d), gallery.to(d), metric)])
        for d in ("cuda", "cpu")
    )
    np.testing.assert_allclose(ours, theirs, rtol=3e-7, atol=1e-12)


@pytest.mark.parametrize("reranking", [None, Reranking()])
@pytest.mark.parametrize("protocol", ["single-shot", "sampled", "multi-shot"])
def test_scores_are_identical_where_distances_are_exact(protocol: str, reranking: Reranking | None) -> None:
    query, gallery, ids = features_and_ids(integers=True)
    ours, theirs = (
        evaluate_ranking(query.to(d), gallery.to(d), *ids, protocol=protocol, reranking=reranking)
        for d in ("cuda", "cpu")
    )
    np.testing.assert_array_equal(ours.cmc_per_query, theirs.cmc_per_query)
    np.testing.assert_array_equal(ours.ap_per_query, theirs.ap_per_query)
    np.testing.assert_array_equal(ours.inp_per_query, theirs.inp_per_query)


def test_features_on_two_devices_are_refused() -> None:
    query, gallery, ids = features_and_ids(integers=True)
    with pytest.raises(ValueError, match="gallery_features is on cpu, query_features on cuda"):
        evaluate_ranking(query.cuda(), gallery, *ids)
