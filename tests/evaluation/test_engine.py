"""The C++ engine against the plain reference, on thousands of small random cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import ranking_reference as reference
from evaluation.ranking_reference import Case
from intact_fast.evaluation.ranking import evaluate_distances

EXAMPLES = settings(max_examples=700, deadline=None)


@st.composite
def cases(draw):
    """Few pictures at few distances (many ties), of few people, junk -1 and pid 0 among them."""
    queries, pictures = draw(st.integers(1, 4)), draw(st.integers(1, 14))
    people, cameras = draw(st.integers(0, 5)), draw(st.integers(1, 3))
    steps = draw(st.sampled_from([1, 3, 1000]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(
        random.integers(0, steps + 1, (queries, pictures)).astype(np.float32) / steps,
        random.integers(-1, people + 1, queries),
        random.integers(-1, people + 1, pictures),
        random.integers(1, cameras + 1, queries),
        random.integers(1, cameras + 1, pictures),
    )


def check(case, protocol, expected_cmc, max_rank, keeps_in_multi_shot, **options):
    multi = reference.multi_shot(case, max_rank, options["distractor_pid"], keeps_in_multi_shot)
    if multi is None:
        with pytest.raises(ValueError, match="query_pids: no query"):
            evaluate_distances(case.distances, *case.ids, protocol=protocol, max_rank=max_rank, **options)
        return
    result = evaluate_distances(case.distances, *case.ids, protocol=protocol, max_rank=max_rank, **options)
    np.testing.assert_allclose(result.cmc_per_query, expected_cmc, atol=1e-12)
    np.testing.assert_allclose(result.ap_per_query, multi[1], atol=1e-14)
    np.testing.assert_allclose(result.inp_per_query, multi[2], atol=1e-14)


choices = {
    "case": cases(),
    "max_rank": st.integers(1, 8),
    "distractor_pid": st.sampled_from([None, 0]),
    "distractors": st.sampled_from(["auto", "drop", "keep"]),
}


@EXAMPLES
@given(**choices)
def test_multi_shot(case, max_rank, distractor_pid, distractors):
    keep = distractors != "drop"
    expected = reference.multi_shot(case, max_rank, distractor_pid, keep)
    cmc = None if expected is None else expected[0]
    check(case, "multi-shot", cmc, max_rank, keep, distractor_pid=distractor_pid, distractors=distractors)


@EXAMPLES
@given(**choices)
def test_exact_single_shot(case, max_rank, distractor_pid, distractors):
    cmc = reference.exact_single_shot(case, max_rank, distractor_pid, distractors == "keep")
    options = {"distractor_pid": distractor_pid, "distractors": distractors}
    check(case, "single-shot", cmc, max_rank, distractors != "drop", **options)


@EXAMPLES
@given(**choices, repeats=st.integers(1, 5), seed=st.sampled_from([0, 1, 2**64 - 1]))
def test_sampled_single_shot(case, max_rank, distractor_pid, distractors, repeats, seed):
    keep = distractors == "keep"
    cmc = reference.sampled_single_shot(case, max_rank, repeats, seed, distractor_pid, keep)
    options = {"distractor_pid": distractor_pid, "distractors": distractors, "repeats": repeats, "seed": seed}
    check(case, "sampled", cmc, max_rank, distractors != "drop", **options)


def large_case(people, pictures, queries=6, levels=40, seed=0):
    """People with many pictures, at distances that tie often."""
    random = np.random.default_rng(seed)
    return Case(
        random.integers(0, levels, (queries, pictures)).astype(np.float32),
        random.integers(0, people, queries),
        random.integers(0, people, pictures),
        np.zeros(queries, int),
        random.integers(0, 3, pictures),
    )


# 2 people of 150 pictures have more matches than are compared directly, 4,500 pictures are more than one tile.
@pytest.mark.parametrize(("people", "pictures"), [(2, 300), (3, 4500), (60, 4500)])
def test_many_pictures(people, pictures):
    case = large_case(people, pictures)
    cmc, ap, inp = reference.multi_shot(case, 20)
    result = evaluate_distances(case.distances, *case.ids, protocol="multi-shot", max_rank=20)
    np.testing.assert_array_equal(result.cmc_per_query, cmc)
    np.testing.assert_allclose(result.ap_per_query, ap, rtol=1e-13)
    np.testing.assert_allclose(result.inp_per_query, inp, rtol=1e-13)

    # The reference convolves in full length; truncation at max_rank must not show.
    expected = reference.exact_single_shot(case, 20)
    result = evaluate_distances(case.distances, *case.ids, max_rank=20)
    np.testing.assert_allclose(result.cmc_per_query, expected, atol=1e-12)


# Among 400 people far matches soon have no chance left at the first ranks.
@pytest.mark.parametrize("people", [60, 400])
@pytest.mark.parametrize("max_rank", [1, 5, 60, 100])
def test_truncation_does_not_change_the_ranks_that_remain(people, max_rank):
    case = large_case(people, pictures=15 * people)
    full = evaluate_distances(case.distances, *case.ids, max_rank=people + 100).cmc_per_query
    np.testing.assert_allclose(full[:, people - 1 :], 1, atol=1e-12)
    result = evaluate_distances(case.distances, *case.ids, max_rank=max_rank)
    np.testing.assert_allclose(result.cmc_per_query, full[:, :max_rank], atol=1e-12)


def test_exact_is_the_mean_of_many_draws():
    case = large_case(people=12, pictures=80, queries=10, levels=15)
    repeats = 20_000
    exact = evaluate_distances(case.distances, *case.ids, max_rank=12).cmc_per_query
    sampled = evaluate_distances(
        case.distances, *case.ids, protocol="sampled", repeats=repeats, max_rank=12, seed=3
    ).cmc_per_query
    assert ((exact > 0.05) & (exact < 0.95)).sum() > 30
    standard_error = np.sqrt(exact * (1 - exact) / repeats)
    assert (np.abs(sampled - exact) <= 4 * standard_error + 1e-12).all()


@pytest.mark.parametrize("protocol", ["single-shot", "sampled", "multi-shot"])
def test_figures_do_not_depend_on_the_number_of_threads(protocol):
    case = large_case(people=30, pictures=700, queries=50)
    one, two, five, default = (
        evaluate_distances(case.distances, *case.ids, protocol=protocol, threads=threads) for threads in (1, 2, 5, 0)
    )
    for other in (two, five, default):
        np.testing.assert_array_equal(one.cmc_per_query, other.cmc_per_query)
        np.testing.assert_array_equal(one.ap_per_query, other.ap_per_query)
        np.testing.assert_array_equal(one.inp_per_query, other.inp_per_query)


def test_infinite_distances_are_last_and_tie():
    case = Case(
        np.array([[1.0, np.inf, np.inf, 2.0]], dtype=np.float32),
        np.array([1]),
        np.array([2, 1, 3, 2]),
        np.array([1]),
        np.array([2, 2, 2, 2]),
    )
    assert evaluate_distances(case.distances, *case.ids, protocol="multi-shot").ap_per_query.tolist() == [1 / 4]
    assert evaluate_distances(case.distances, *case.ids, max_rank=3).cmc.tolist() == [0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int16])
def test_distances_may_be_tensors_of_any_real_type(dtype):
    case = large_case(people=12, pictures=80)
    expected = evaluate_distances(case.distances, *case.ids)
    tensor = torch.from_numpy(case.distances).to(dtype)
    result = evaluate_distances(tensor.requires_grad_(dtype.is_floating_point), *case.ids)
    np.testing.assert_array_equal(result.cmc_per_query, expected.cmc_per_query)


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.array([[0, 1.0], [np.nan, 0]]), "distances holds NaN in row 1"),
        (np.zeros((2, 0)), "distances must be a matrix of real numbers"),
        (np.zeros(2), "distances must be a matrix of real numbers"),
        (np.zeros((2, 2), dtype=complex), "distances must be a matrix of real numbers"),
        (np.zeros((2, 3)), "gallery_pids must hold one number per row of distances.T"),
        (np.zeros((1, 2)), "query_pids must hold one number per row of distances"),
    ],
)
def test_distances_that_cannot_be_ranked_are_refused(distances, message):
    with pytest.raises(ValueError, match=message):
        evaluate_distances(distances, [1, 2], [1, 2], [1, 1], [2, 2])
