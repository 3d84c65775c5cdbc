"""How many pictures may vanish before nothing is dropped."""

from __future__ import annotations

import pyarrow
import pytest

from intact_fast import UserError
from intact_fast.serving.gallery.vanished import find_vanished


def vanished(known: int, there: int, drop_vanished: bool = False) -> list[str]:
    """Of that many pictures the last ones vanish."""
    names = pyarrow.chunked_array([[str(i) for i in range(known)]], pyarrow.string())
    return find_vanished(names, names.slice(0, there), "--gallery g", "--index x.lance", drop_vanished)


@pytest.mark.parametrize(("known", "there"), [(0, 0), (10, 0), (30, 15), (31, 16), (30, 40)])
def test_half_of_them_or_a_handful_may_vanish(known: int, there: int) -> None:
    assert vanished(known, there) == [str(i) for i in range(there, known)]


@pytest.mark.parametrize(("known", "there"), [(11, 0), (30, 14), (2000, 3)])
def test_most_of_them_vanish_by_an_option_alone(known: int, there: int) -> None:
    message = f"^--gallery g: lacks {known - there:,} of the {known:,} pictures in --index x.lance, .* --drop-vanished$"
    with pytest.raises(UserError, match=message):
        vanished(known, there)
    assert len(vanished(known, there, drop_vanished=True)) == known - there
