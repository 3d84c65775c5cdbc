"""The extension module itself, given arrays that no sane caller would pass: right figures or a clear error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact_fast import _C

QUERIES, PICTURES, WIDTH = 5, 40, 8
INT64 = np.iinfo(np.int64)


def unaligned(array):
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "plain": lambda a: a,
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "upside down": lambda a: a[::-1].copy()[::-1],
    "unaligned": unaligned,
    "read-only": read_only,
    "subclass": np.ma.masked_array,
}


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {
        "pids": random.integers(0, 6, PICTURES),
        "camids": random.integers(0, 3, PICTURES),
        "absent": random.random(PICTURES) < 0.1,
        "alone": random.random(PICTURES) < 0.1,
        "distances": random.random((QUERIES, PICTURES), dtype=np.float32),
        "query_pids": random.integers(0, 6, QUERIES),
        "query_camids": random.integers(0, 3, QUERIES),
        "features": random.random((PICTURES, WIDTH), dtype=np.float32),
        "neighbours": random.integers(0, PICTURES, (PICTURES, 7)).astype(np.int32),
        "largest_square": random.random(PICTURES, dtype=np.float32),
        "block": random.random((QUERIES, PICTURES - QUERIES), dtype=np.float32),
        "rows": random.integers(0, 2, (PICTURES, 3)).astype(np.float32),
    }


def everything(a, max_rank=5, k=3, repeats=4, seed=9, threads=0, queries=QUERIES, k1=6, k2=3, weight=0.3):
    """Every function of the module on one set of arguments."""
    gallery = _C.Gallery(a["pids"], a["camids"], a["absent"], a["alone"])
    asked = a["distances"], a["query_pids"], a["query_camids"], max_rank
    encoding = _C.ReciprocalEncoding(
        a["features"], a["neighbours"], a["largest_square"], queries, k1, k2, False, threads
    )
    return [
        gallery.count_matches(a["query_pids"], a["query_camids"]),
        *gallery.multi_shot(*asked, threads=threads),
        gallery.exact_single_shot(*asked, threads=threads),
        gallery.sampled_single_shot(*asked, repeats=repeats, seed=seed, threads=threads),
        _C.first_equal_rows(a["rows"], threads=threads),
        *_C.nearest_columns(a["distances"], k, threads=threads),
        encoding.rerank(a["block"], 0, weight, threads=threads),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(arrays, layout):
    expected = everything(arrays)
    for ours, theirs in zip(everything({k: LAYOUTS[layout](v) for k, v in arrays.items()}), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_repeated_rows_of_stride_zero(arrays):
    row = arrays["distances"][:1]
    arrays["distances"] = np.broadcast_to(row, (QUERIES, PICTURES))
    expected = everything(arrays | {"distances": np.repeat(row, QUERIES, axis=0)})
    for ours, theirs in zip(everything(arrays), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["absent", "alone"])
def test_booleans_that_are_bytes_of_any_value(arrays, name):
    expected = everything(arrays)
    arrays[name] = (arrays[name].view(np.uint8) * 200).view(np.bool_)
    for ours, theirs in zip(everything(arrays), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


NAMES = (
    "pids camids absent alone distances query_pids query_camids features neighbours largest_square block rows"
).split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.int16),
        lambda a: a.astype(np.complex64),
        lambda a: a.astype(object),
        lambda a: a.astype(a.dtype.newbyteorder("S")) if a.dtype.itemsize > 1 else a.astype("S1"),
        lambda a: a.tolist(),
        lambda a: None,
        lambda a: "text",
        lambda a: a[None],
        lambda a: a.reshape(-1)[0],
        lambda a: np.array(a.reshape(-1)[0]),
    ],
)
def test_wrong_type_or_number_of_dimensions(arrays, name, spoil):
    argument = "distances" if name == "block" else name
    with pytest.raises(ValueError, match=f"^{argument} must be a"):
        everything(arrays | {name: spoil(arrays[name])})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("rows", "features", "block")])
@pytest.mark.parametrize("axis", [0, -1])
def test_wrong_length(arrays, name, axis):
    if name == "neighbours" and axis == -1:
        pytest.skip("any number of neighbours is allowed")
    shorter = np.delete(arrays[name], 0, axis=axis)
    # The gallery's own length is what the others are measured by, and so is that of the distances.
    blamed = {
        "pids": "camids",
        "query_pids": "query_camids",
        "distances": "query_pids" if axis == 0 else "distances",
    }.get(name, name)
    with pytest.raises(ValueError, match=f"^{blamed} must have the length"):
        everything(arrays | {name: shorter})


def test_empty_arrays(arrays):
    with pytest.raises(ValueError, match="pids is empty"):
        everything(arrays | {name: arrays[name][:0] for name in ("pids", "camids", "absent", "alone")})
    for columns in (0, 3):
        assert _C.first_equal_rows(np.empty((0, columns), np.float32)).shape == (0,)
    assert _C.first_equal_rows(np.empty((4, 0), np.float32)).tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="columns of distances"):
        _C.nearest_columns(np.empty((4, 0), np.float32), 1)
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match=r"of features must be between 1"):
            _C.ReciprocalEncoding(
                np.empty(shape, np.float32),
                np.empty((shape[0], 1), np.int32),
                np.empty(shape[0], np.float32),
                0,
                1,
                1,
                False,
            )
    gallery = _C.Gallery(arrays["pids"], arrays["camids"], arrays["absent"], arrays["alone"])
    nothing = np.empty((0, PICTURES), np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    cmc, ap, inp = gallery.multi_shot(*nothing, max_rank=5)
    assert (cmc.shape, ap.shape, inp.shape) == ((0, 5), (0,), (0,))
    assert gallery.exact_single_shot(*nothing, max_rank=5).shape == (0, 5)
    assert gallery.sampled_single_shot(*nothing, max_rank=5, repeats=2, seed=0).shape == (0, 5)


def test_identifiers_may_be_any_64_bit_number(arrays):
    order = np.array([INT64.min, -(2**40), -1, 2**33, 2**62, INT64.max])
    names = "pids", "query_pids"
    renamed = arrays | {name: order[arrays[name]] for name in names}
    for ours, theirs in zip(everything(renamed), everything(arrays), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        ({"max_rank": 0}, "max_rank must be between 1 and"),
        ({"max_rank": 10**12}, "max_rank must be between 1 and"),
        ({"threads": -1}, "threads must be between 0 and"),
        ({"threads": 10**9}, "threads must be between 0 and"),
        ({"repeats": 0}, "repeats must be between 1 and"),
        ({"repeats": 10**12}, "repeats must be between 1 and"),
        ({"k": 0}, "k must be between 1 and 40"),
        ({"k": PICTURES + 1}, "k must be between 1 and 40"),
        ({"queries": -1}, "queries must be between 0 and 40"),
        ({"queries": PICTURES + 1}, "queries must be between 0 and 40"),
        ({"queries": QUERIES - 1}, "distances must have the length 36"),
        ({"k1": 0}, "k1 must be between 1 and"),
        ({"k2": 0}, "k2 must be between 1 and"),
        ({"weight": float("nan")}, "weight must be between 0 and 1"),
        ({"weight": -0.1}, "weight must be between 0 and 1"),
    ],
)
def test_numbers_out_of_range(arrays, scalars, message):
    with pytest.raises(ValueError, match=message):
        everything(arrays, **scalars)


@pytest.mark.parametrize("scalars", [{"seed": -1}, {"seed": 2**64}, {"max_rank": "5"}, {"threads": 1.5}])
def test_numbers_that_are_none(arrays, scalars):
    with pytest.raises(TypeError):
        everything(arrays, **scalars)


def test_extreme_numbers_that_are_in_range(arrays):
    few, many = (everything(arrays, threads=t, k1=k, k2=k, max_rank=5) for t, k in ((1, 50), (60_000, 2**31 - 1)))
    for ours, theirs in zip(few[:-1], many[:-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("wrong", [-1, PICTURES, np.iinfo(np.int32).max, np.iinfo(np.int32).min])
def test_neighbours_must_be_pictures(arrays, wrong):
    arrays["neighbours"][17, 3] = wrong
    with pytest.raises(ValueError, match=f"neighbours holds {wrong}, which is no row of features"):
        everything(arrays)


def test_a_reranked_block_must_be_of_the_queries(arrays):
    encoding = _C.ReciprocalEncoding(arrays["features"], arrays["neighbours"], arrays["largest_square"], 2, 6, 3, True)
    block = np.zeros((2, PICTURES - 2), np.float32)
    encoding.rerank(block, 0, 0.3)
    for first in (-1, 3, 2**62):
        with pytest.raises(ValueError, match="first_query must be between 0 and 2"):
            encoding.rerank(block, first, 0.3)
    with pytest.raises(ValueError, match="number of rows of distances must be between 0 and 1"):
        encoding.rerank(block, 1, 0.3)


@pytest.mark.parametrize("threads", [1, 4])
def test_nan_names_the_first_row_that_has_one(arrays, threads):
    arrays["distances"][2:, 11] = np.nan
    gallery = _C.Gallery(arrays["pids"], arrays["camids"], arrays["absent"], arrays["alone"])
    asked = arrays["distances"], arrays["query_pids"], arrays["query_camids"], 5
    for call in (
        lambda: gallery.multi_shot(*asked, threads=threads),
        lambda: gallery.exact_single_shot(*asked, threads=threads),
        lambda: gallery.sampled_single_shot(*asked, repeats=2, seed=0, threads=threads),
    ):
        with pytest.raises(ValueError, match="distances holds NaN in row 2"):
            call()
    for bad in (np.nan, np.inf, -1e-3, 1e30):
        arrays["distances"][2:, 11] = bad
        with pytest.raises(ValueError, match="squarable numbers from 0 up, which row 2 is not"):
            _C.nearest_columns(arrays["distances"], 3, threads=threads)


def test_encoding_of_numbers_that_are_none_or_too_large_does_not_crash(arrays):
    for value in (np.nan, np.inf, -np.inf, 3e38):
        for name, cosine in (("features", False), ("features", True), ("largest_square", False)):
            spoiled = arrays[name].copy()
            spoiled[::3] = value
            a = arrays | {name: spoiled}
            encoding = _C.ReciprocalEncoding(a["features"], a["neighbours"], a["largest_square"], QUERIES, 6, 3, cosine)
            assert encoding.rerank(a["block"], 0, 0.3).shape == a["block"].shape


def test_nearest_are_those_of_the_lower_index_where_squares_tie():
    # The squares of the first three underflow to 0.
    distances = np.array([[2e-25, 1e-25, 0, 1, 0.5]], np.float32)
    for k in range(1, 6):
        nearest, largest_square = _C.nearest_columns(distances, k)
        assert nearest.tolist() == [[0, 1, 2, 4, 3][:k]]
        assert largest_square.tolist() == [1]


def test_equal_rows_whatever_the_sign_of_zero():
    rows = np.array([[1, 0], [1, -0.0], [2, 0], [1, 0], [2, -0.0], [0, 1]], np.float32)
    assert _C.first_equal_rows(rows).tolist() == [0, 0, 2, 0, 2, 5]


def test_a_query_without_match_scores_nan(arrays):
    arrays["query_pids"][1] = 77
    _, cmc, ap, inp, exact, sampled, *_ = everything(arrays)
    for figures in (cmc, ap, inp, exact, sampled):
        assert np.isnan(figures[1]).all()
        assert np.isfinite(np.delete(figures, 1, axis=0)).any()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_sizes_and_layouts(data):
    queries, pictures, width = (data.draw(st.integers(low, 9)) for low in (0, 1, 0))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = st.sampled_from([0.0, -0.0, 1.0, 1.5, 1e30, np.inf])

    def in_some_layout(array):
        return LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](array)

    def floats(*shape):
        pool = np.array(data.draw(st.lists(values, min_size=1, max_size=4)), np.float32)
        return in_some_layout(random.choice(pool, shape))

    def integers(size):
        pool = data.draw(st.lists(st.integers(INT64.min, INT64.max), min_size=1, max_size=3))
        return in_some_layout(random.choice(np.array(pool, np.int64), size))

    gallery = _C.Gallery(
        integers(pictures),
        integers(pictures),
        in_some_layout(random.random(pictures) < 0.3),
        in_some_layout(random.random(pictures) < 0.3),
    )
    asked = floats(queries, pictures), integers(queries), integers(queries), data.draw(st.integers(1, 12))
    cmc, ap, inp = gallery.multi_shot(*asked)
    for figures in (
        cmc,
        ap,
        inp,
        gallery.exact_single_shot(*asked),
        gallery.sampled_single_shot(*asked, repeats=3, seed=1),
    ):
        assert len(figures) == queries
        scored = figures[~np.isnan(figures)]
        assert ((scored >= 0) & (scored <= 1)).all()
    matches = gallery.count_matches(*asked[1:3])
    np.testing.assert_array_equal(np.isnan(ap), matches == 0)
    first = _C.first_equal_rows(floats(pictures, width))
    assert ((first >= 0) & (first <= np.arange(pictures))).all()


def test_python_goes_on_meanwhile_and_calls_may_overlap():
    random = np.random.default_rng(0)
    pictures = 3000
    pids, camids = random.integers(0, 300, pictures), random.integers(0, 3, pictures)
    gallery = _C.Gallery(pids, camids, np.zeros(pictures, bool), np.zeros(pictures, bool))
    asked = random.random((200, pictures), dtype=np.float32), pids[:200], camids[:200] + 5, 50
    expected = gallery.exact_single_shot(*asked)

    ticks, done = 0, threading.Event()

    def work():
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda _: gallery.exact_single_shot(*asked, threads=1), range(12)))
        done.set()
        return results

    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(work)
        # With the GIL held by the calls this loop could not count between two of them.
        while not done.wait(0.001):
            ticks += 1
    assert ticks > 10
    for result in results.result():
        np.testing.assert_array_equal(result, expected)
