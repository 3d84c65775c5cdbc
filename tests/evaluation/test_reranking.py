"""k-reciprocal re-ranking against the dense form of the published algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation import ranking_reference as reference
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.ranking import evaluate_distances, evaluate_ranking
from intact_fast.evaluation.reranking import Reranking, reranked_blocks


def people(queries=7, pictures=90, identities=8, width=12, seed=0, spread=0.8):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(identities, width))
    pids = random.integers(0, identities, queries), random.integers(0, identities, pictures)
    query, gallery = (torch.from_numpy(centres[p] + spread * random.normal(size=(len(p), width))).float() for p in pids)
    return query, gallery, *pids


def matrix(blocks):
    return np.concatenate([distances for _, distances in blocks])


def published(query, gallery, metric, parameters):
    pairs = (query, gallery), (query, query), (gallery, gallery)
    distances = [matrix(distance_blocks(a, b, metric)) for a, b in pairs]
    return reference.rerank(*distances, parameters.k1, parameters.k2, parameters.weight)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    "parameters",
    [
        Reranking(),
        Reranking(k1=7, k2=3, weight=0.5),
        Reranking(k1=5, k2=1, weight=0.0),
        Reranking(k1=1, k2=2),
        Reranking(k1=30, k2=31, weight=1.0),
        Reranking(k1=500, k2=200),
    ],
    ids=str,
)
def test_equals_the_published_algorithm(metric, parameters):
    query, gallery, *_ = people()
    ours = matrix(reranked_blocks(query, gallery, metric, parameters))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, published(query, gallery, metric, parameters), atol=2e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_published_algorithm_where_many_distances_tie(metric, seed):
    random = np.random.default_rng(seed)
    # Few places, so that pictures coincide; the zero vector among them.
    query = torch.from_numpy(random.integers(-1, 2, (3, 3))).float()
    gallery = torch.from_numpy(random.integers(-1, 2, (60, 3))).float()
    parameters = Reranking(k1=6, k2=3)
    ours = matrix(reranked_blocks(query, gallery, metric, parameters))
    np.testing.assert_allclose(ours, published(query, gallery, metric, parameters), atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
def test_tiny_sets(shape):
    query, gallery, *_ = people(*shape)
    ours = matrix(reranked_blocks(query, gallery))
    np.testing.assert_allclose(ours, published(query, gallery, "euclidean", Reranking()), atol=2e-6)


def test_constant_features_stay_tied():
    features = torch.ones(30, 4)
    ours = matrix(reranked_blocks(features[:3], features))
    np.testing.assert_allclose(ours, published(features[:3], features, "euclidean", Reranking()), atol=2e-6)
    result = evaluate_ranking(
        features[:3], features, range(3), np.arange(30) % 10, [1] * 3, [2] * 30, reranking=Reranking()
    )
    # Queries come first among equals, so that the neighbourhoods are of queries and the gallery stays tied.
    np.testing.assert_array_equal(result.cmc[:9], 0)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_blocks_and_threads_do_not_matter(block):
    query, gallery, *_ = people()
    whole = matrix(reranked_blocks(query, gallery, threads=1))
    rows = [rows for rows, _ in reranked_blocks(query, gallery, block=block)]
    assert [r for s in rows for r in range(len(query))[s]] == list(range(len(query)))
    np.testing.assert_array_equal(matrix(reranked_blocks(query, gallery, block=block, threads=3)), whole)


def test_helps_where_matches_share_neighbours():
    query, gallery, query_pids, gallery_pids = people(queries=40, pictures=400, identities=20, width=10, spread=0.7)
    ids = query_pids, gallery_pids, np.ones(40, int), np.full(400, 2)
    plain = evaluate_ranking(query, gallery, *ids)
    reranked = evaluate_ranking(query, gallery, *ids, reranking=Reranking())
    assert reranked.mean_ap > plain.mean_ap + 0.05
    by_matrix = evaluate_distances(matrix(reranked_blocks(query, gallery)), *ids)
    np.testing.assert_array_equal(reranked.cmc_per_query, by_matrix.cmc_per_query)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (Reranking(k1=0), "k1 must be at least 1"),
        (Reranking(k2=0), "k2 must be at least 1"),
        (Reranking(k1=3, k2=5), r"k2 must be at most k1 \+ 1 \(4\), not 5"),
        (Reranking(weight=1.5), "weight must be between 0 and 1"),
        (Reranking(weight=float("nan")), "weight must be between 0 and 1"),
    ],
)
def test_parameters_out_of_range_are_refused_at_once(parameters, message):
    query, gallery, *_ = people()
    with pytest.raises(ValueError, match=message):
        reranked_blocks(query, gallery, parameters=parameters)
