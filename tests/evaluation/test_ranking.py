from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.ranking_reference import Case, multi_shot
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.ranking import evaluate_distances, evaluate_ranking

PROTOCOLS = ("single-shot", "sampled", "multi-shot")


def line(*places):
    """Features on a line, whose distances can be read off."""
    return torch.tensor(places, dtype=torch.float32).reshape(-1, 1)


def all_distances(query, gallery, metric="euclidean", block=256):
    return np.concatenate([rows for _, rows in distance_blocks(query, gallery, metric, block)])


def brute_force_single_shot(case, max_rank, distractor_pid=None, keep=False):
    """Single-shot CMC by trying every gallery that can be drawn, one query at a time."""
    query, gallery, qp, gp, qc, gc = case
    rows = []
    for q, place in enumerate(query.flatten().tolist()):
        pools = {}
        for g, pid in enumerate(gp):
            junk = pid == -1 or (pid == qp[q] and gc[g] == qc[q])
            if junk or (pid == distractor_pid and not keep):
                continue
            pools.setdefault(("distractor", g) if pid == distractor_pid else pid, []).append(g)
        if qp[q] in (-1, distractor_pid) or qp[q] not in pools:
            continue
        ranks = []
        for draw in itertools.product(*pools.values()):
            gap = {pid: abs(gallery[g].item() - place) for pid, g in zip(pools, draw, strict=True)}
            ranks.append(sum(gap[pid] <= gap[qp[q]] for pid in pools))
        rows.append([np.mean([rank <= k for rank in ranks]) for k in range(1, max_rank + 1)])
    return np.array(rows)


@st.composite
def cases(draw):
    """Few pictures at few places (so many ties), of few people, -1 and 0 among them, and 1 or 2 cameras."""
    n_query, n_gallery = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    cameras = draw(st.integers(1, 2))

    def integers(size, low, high):
        return draw(st.lists(st.integers(low, high), min_size=size, max_size=size))

    return (
        line(*integers(n_query, 0, 4)),
        line(*integers(n_gallery, 0, 4)),
        integers(n_query, -1, 4),
        integers(n_gallery, -1, 4),
        integers(n_query, 1, cameras),
        integers(n_gallery, 1, cameras),
    )


@settings(max_examples=150, deadline=None)
@given(
    case=cases(),
    max_rank=st.integers(1, 6),
    distractor_pid=st.sampled_from([None, 0]),
    distractors=st.sampled_from(["auto", "drop", "keep"]),
)
def test_single_shot_and_multi_shot_equal_brute_force(case, max_rank, distractor_pid, distractors):
    options = {"max_rank": max_rank, "distractor_pid": distractor_pid, "distractors": distractors}
    expected = brute_force_single_shot(case, max_rank, distractor_pid, keep=distractors == "keep")
    if not len(expected):
        with pytest.raises(ValueError, match="query_pids"):
            evaluate_ranking(*case, **options)
        return
    single = evaluate_ranking(*case, **options)
    multi = evaluate_ranking(*case, protocol="multi-shot", **options)
    query, gallery, *ids = case
    plain = Case(all_distances(query, gallery), *map(np.array, ids))
    cmc, ap, inp = multi_shot(plain, max_rank, distractor_pid, keep=distractors != "drop")

    np.testing.assert_allclose(single.cmc_per_query, expected, atol=1e-12)
    np.testing.assert_array_equal(multi.cmc_per_query, cmc)
    for result in (single, multi):
        np.testing.assert_allclose(result.ap_per_query, ap, atol=1e-12)
        np.testing.assert_allclose(result.inp_per_query, inp, atol=1e-12)


def random_case(seed=0, n_query=12, n_gallery=90, people=15, width=6):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(people, width))
    qp, gp = random.integers(0, people, n_query), random.integers(0, people, n_gallery)

    def features(pids):
        return torch.from_numpy(centres[pids] + 1.2 * random.normal(size=(len(pids), width))).float()

    cameras = random.integers(1, 4, n_query), random.integers(1, 4, n_gallery)
    return features(qp), features(gp), qp, gp, *cameras


def test_sampled_converges_to_exact():
    query, gallery, qp, gp, qc, gc = random_case()
    repeats = 4000
    exact = evaluate_ranking(query, gallery, qp, gp, qc, gc, max_rank=8)
    sampled = evaluate_ranking(query, gallery, qp, gp, qc, gc, protocol="sampled", repeats=repeats, max_rank=8, seed=1)
    expected = exact.cmc_per_query
    assert ((expected > 0.05) & (expected < 0.95)).sum() > 20
    standard_error = np.sqrt(expected * (1 - expected) / repeats)
    assert (np.abs(sampled.cmc_per_query - expected) <= 4 * standard_error + 1e-12).all()


def test_sampled_equals_exact_where_nothing_is_random():
    # Junk for the query, the second picture of person 0 must never be the one that is kept.
    arguments = (line(0), line(3, 0, 1, 7), [0], [0, 0, 1, 2], [1], [2, 1, 2, 2])
    sampled = evaluate_ranking(*arguments, protocol="sampled", repeats=20, max_rank=3)
    np.testing.assert_array_equal(sampled.cmc, [0, 1, 1])
    np.testing.assert_array_equal(evaluate_ranking(*arguments, max_rank=3).cmc, [0, 1, 1])


def test_sampling_is_a_function_of_the_seed():
    first, again, other = (
        evaluate_ranking(*random_case(), protocol="sampled", repeats=3, seed=seed).cmc_per_query for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_exact_by_hand():
    # Person 1 is at 2; of person 2's three pictures one is nearer; person 3 has one nearer of two, one tied.
    gallery = line(2, 1, 5, 6, 0, -2)
    result = evaluate_ranking(line(0), gallery, [1], [1, 2, 2, 2, 3, 3], [1], [2] * 6, max_rank=4)
    np.testing.assert_allclose(result.cmc, [0, 2 / 3, 1, 1], atol=1e-15)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("own_first", [True, False])
def test_constant_features_score_nothing(protocol, metric, own_first):
    people, each = 12, 3
    features = torch.rand(1, 37, generator=torch.Generator().manual_seed(0)).expand(people * each, -1)
    gp = np.repeat(np.arange(people), each)
    gp = gp if own_first else gp[::-1].copy()
    result = evaluate_ranking(
        features[:1], features, [0], gp, [1], [2] * len(gp), protocol=protocol, metric=metric, max_rank=people
    )
    last = people - 1
    np.testing.assert_array_equal(result.cmc[:last], 0)
    assert result.cmc[last] == (0 if protocol == "multi-shot" else 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_gallery_order_does_not_matter_to_deterministic_scores(protocol):
    query, gallery, qp, gp, qc, gc = random_case()
    gallery, query = gallery.round(), query.round()
    order = np.random.default_rng(1).permutation(len(gp))
    one, two = (
        evaluate_ranking(query, gallery[o], qp, gp[o], qc, gc[o], protocol=protocol)
        for o in (np.arange(len(gp)), order)
    )
    np.testing.assert_array_equal(one.ap_per_query, two.ap_per_query)
    if protocol != "sampled":
        np.testing.assert_allclose(one.cmc_per_query, two.cmc_per_query, atol=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_means_are_those_of_the_valid_queries(protocol):
    query, gallery, qp, gp, qc, gc = random_case()
    qp[3] = 99
    result = evaluate_ranking(query, gallery, qp, gp, qc, gc, protocol=protocol, max_rank=5)
    assert result.valid.dtype == bool
    assert not result.valid[3]
    n_valid = result.valid.sum()
    assert result.cmc_per_query.shape == (n_valid, 5)
    assert result.ap_per_query.shape == result.inp_per_query.shape == (n_valid,)
    assert result.cmc.dtype == np.float64
    np.testing.assert_array_equal(result.cmc, result.cmc_per_query.mean(axis=0))
    np.testing.assert_array_equal(result.rank1_per_query, result.cmc_per_query[:, 0])
    assert result.mean_ap == result.ap_per_query.mean()
    assert result.mean_inp == result.inp_per_query.mean()

    keep = result.valid
    alone = evaluate_ranking(query[keep], gallery, qp[keep], gp, qc[keep], gc, protocol=protocol, max_rank=5)
    np.testing.assert_array_equal(alone.cmc_per_query, result.cmc_per_query)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_person_zero_is_a_person_unless_marked(protocol):
    arguments = (line(0, 10), line(1, 11), [0, 1], [0, 1], [1, 1], [2, 2])
    assert evaluate_ranking(*arguments, protocol=protocol).valid.tolist() == [True, True]
    assert evaluate_ranking(*arguments, protocol=protocol, distractor_pid=0).valid.tolist() == [False, True]


@pytest.mark.parametrize(
    ("protocol", "distractors", "rank"),
    [
        ("single-shot", "auto", 1),
        ("single-shot", "drop", 1),
        ("single-shot", "keep", 3),
        ("sampled", "auto", 1),
        ("sampled", "keep", 3),
        ("multi-shot", "auto", 3),
        ("multi-shot", "drop", 1),
        ("multi-shot", "keep", 3),
    ],
)
def test_distractors(protocol, distractors, rank):
    # Two distractors, and a picture marked as junk, are nearer than the match.
    arguments = (line(0), line(1, 2, 3, 4), [5], [0, 0, -1, 5], [1], [2, 2, 2, 2])
    result = evaluate_ranking(*arguments, protocol=protocol, distractors=distractors, distractor_pid=0)
    assert result.cmc.argmax() + 1 == rank
    assert result.mean_ap == (1 if distractors == "drop" else 1 / 3)


def test_junk_pid_can_be_switched_off():
    arguments = (line(0), line(1, 2), [5], [-1, 5], [1], [2, 2])
    assert evaluate_ranking(*arguments).cmc[0] == 1
    assert evaluate_ranking(*arguments, junk_pid=None).cmc[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_features": line(0, float("nan"))}, "query_features holds NaN or infinity in row 1"),
        ({"gallery_features": line(float("inf"), 0, 0)}, "gallery_features holds NaN or infinity in row 0"),
        ({"gallery_features": torch.empty(0, 1)}, "gallery_features is empty"),
        ({"gallery_features": torch.zeros(3, 2)}, "gallery_features has 2 values per row"),
        ({"gallery_features": torch.zeros(3)}, "gallery_features must have one row per picture"),
        ({"query_pids": [0]}, "query_pids must hold one number per row of query_features"),
        ({"gallery_camids": [1, 2]}, "gallery_camids must hold one number per row of gallery_features"),
        ({"query_camids": [1.0, 1.0]}, "query_camids must hold integers"),
        ({"query_camids": None}, "query_camids is None; give both sides"),
        ({"gallery_camids": None}, "gallery_camids is None; give both sides"),
        ({"query_pids": [7, 8]}, "query_pids: no query"),
        ({"gallery_camids": [1, 1, 1]}, "query_pids: no query.*give None as query_camids and gallery_camids"),
        ({"gallery_pids": [-1, -1, -1], "query_pids": [-1, -1]}, "query_pids: no query"),
        ({"protocol": "multishot"}, "protocol must be one of"),
        ({"metric": "manhattan"}, "metric must be one of"),
        ({"distractors": "yes"}, "distractors must be one of"),
        ({"max_rank": 0}, "max_rank must be an integer between 1 and 1000000, not 0"),
        ({"seed": -1}, "seed must be an integer between 0 and 18446744073709551615, not -1"),
        ({"threads": -1}, "threads must be an integer between 0 and 65536, not -1"),
        ({"query_pids": np.array([0, 2**63], dtype=np.uint64)}, "query_pids must fit 64 signed bits"),
        (
            {"query_features": [[0.0], [1.0]]},
            "query_features must be a tensor or an array of real numbers, not list",
        ),
        (
            {"query_features": torch.zeros(2, 1, dtype=torch.cfloat)},
            "query_features must be a tensor .* not torch.c",
        ),
        ({"query_features": np.array([[0.0], [1e300]])}, "query_features holds NaN or infinity in row 1"),
        ({"max_rank": 2.5}, "max_rank must be an integer between 1 and 1000000, not 2.5"),
        ({"distractor_pid": "0"}, "distractor_pid must be an integer or None, not '0'"),
        ({"repeats": 0}, "repeats must be an integer between 1 and 1000000, not 0"),
    ],
)
def test_mistakes_name_the_argument(changes, message):
    arguments = {
        "query_features": line(0, 1),
        "gallery_features": line(0, 1, 2),
        "query_pids": [0, 1],
        "gallery_pids": [0, 1, 1],
        "query_camids": [1, 1],
        "gallery_camids": [2, 2, 2],
    }
    evaluate_ranking(**arguments)
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(**(arguments | changes))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_camera_ids_every_picture_of_a_person_is_a_match(protocol):
    """Junk and distractors stay what they are."""
    query, gallery = line(0, 10), line(1, 2, 3, 11, 12, 13)
    pids = [5, 6], [-1, 5, 0, 6, 7, 5]
    options = {"protocol": protocol, "distractor_pid": 0, "max_rank": 3}
    free = evaluate_ranking(query, gallery, *pids, None, None, **options)
    apart = evaluate_ranking(query, gallery, *pids, [1, 1], [2] * 6, **options)
    for result in (free, evaluate_distances(all_distances(query, gallery), *pids, None, None, **options)):
        np.testing.assert_array_equal(result.cmc_per_query, apart.cmc_per_query)
        assert (result.mean_ap, result.valid.tolist()) == (apart.mean_ap, [True, True])
    assert free.ap_per_query.tolist() == [(1 + 2 / 5) / 2, 1], "of five pictures that are ranked, junk left out"


@pytest.mark.parametrize("function", [evaluate_ranking, evaluate_distances])
def test_options_are_shown_and_others_refused(function):
    parameters = inspect.signature(function).parameters
    for name in ("protocol", "repeats", "seed", "distractors", "distractor_pid", "threads"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert (parameters["max_rank"].default, parameters["junk_pid"].default) == (50, -1)
    features = [line(0, 1), line(0, 1)] if function is evaluate_ranking else [torch.eye(2)]
    with pytest.raises(TypeError, match="'shots'"):
        function(*features, [1, 2], [1, 2], [0, 0], [1, 1], shots=3)


def test_arguments_may_be_tensors_or_arrays_of_any_layout():
    query, gallery, *ids = random_case()
    expected = evaluate_ranking(query, gallery, *ids).cmc_per_query
    read_only = gallery.numpy().copy()
    read_only.flags.writeable = False
    for features in (
        (query.numpy(), gallery.numpy()),
        (query.double(), gallery.numpy().astype(np.float64)),
        (query.T.contiguous().T, np.asfortranarray(gallery.numpy())),
        (query.requires_grad_(), read_only),
        (query.detach().numpy()[::-1].copy()[::-1], np.repeat(gallery.numpy(), 2, axis=1)[:, ::2]),
    ):
        result = evaluate_ranking(*features, *map(torch.from_numpy, ids))
        np.testing.assert_array_equal(result.cmc_per_query, expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_features_and_their_distances_score_the_same(protocol):
    query, gallery, *ids = random_case()
    expected = evaluate_ranking(query, gallery, *ids, protocol=protocol)
    result = evaluate_distances(torch.from_numpy(all_distances(query, gallery)), *ids, protocol=protocol)
    np.testing.assert_array_equal(result.cmc_per_query, expected.cmc_per_query)
    np.testing.assert_array_equal(result.ap_per_query, expected.ap_per_query)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_gallery_rows_tie_wherever_they_stand(metric):
    # More than two of the pieces in which the gallery is converted, and -0 against 0.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(700, 33, generator=generator)
    features[:, 5] = 0.0
    repeated = features.clone()
    repeated[:, 5] = -0.0
    gallery = torch.cat([features, repeated, features.flip(0)])
    distances = all_distances(torch.randn(9, 33, generator=generator), gallery, metric)
    np.testing.assert_array_equal(distances[:, :700], distances[:, 700:1400])
    np.testing.assert_array_equal(distances[:, :700], distances[:, :1399:-1])


@pytest.mark.parametrize("block", [1, 3, 100])
def test_distance_blocks_cover_the_matrix(block):
    query, gallery, *_ = random_case()
    euclidean = torch.linalg.vector_norm(query[:, None].double() - gallery.double(), dim=2).numpy()
    cosine = 1 - torch.cosine_similarity(query[:, None].double(), gallery.double(), dim=2).numpy()
    for metric, expected in (("euclidean", euclidean), ("cosine", cosine)):
        rows = [rows for rows, _ in distance_blocks(query, gallery, metric, block)]
        assert [r for s in rows for r in range(len(query))[s]] == list(range(len(query)))
        distances = all_distances(query, gallery, metric, block)
        assert distances.dtype == np.float32
        np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_identical_vectors_are_at_distance_zero_and_close_ones_are_not(metric):
    generator = torch.Generator().manual_seed(0)
    features = 100 + torch.randn(50, 301, generator=generator)
    gallery = torch.cat([features, features])
    distances = all_distances(features, gallery, metric)
    np.testing.assert_array_equal(distances[:, :50], distances[:, 50:])
    np.testing.assert_array_equal(np.diag(distances[:, :50]), 0)
    assert (distances[:, :50] > 0).sum() == 50 * 49

    nudged = features[:1].clone()
    nudged[0, 0] += 1e-3
    # Euclidean cancellation in float32 would lose this; the cosine's own resolution is its square.
    if metric == "euclidean":
        np.testing.assert_allclose(all_distances(features[:1], nudged)[0, 0], 1e-3, rtol=1e-2)


def test_cosine_ignores_length_and_takes_zero_vectors():
    gallery = torch.tensor([[3e-30, 0.0], [0.0, 5e30], [-2.0, 0.0], [0.0, 0.0]])
    distances = all_distances(torch.tensor([[7.0, 0.0]]), gallery, "cosine")
    np.testing.assert_array_equal(distances, [[0, 1, 2, 1]])
