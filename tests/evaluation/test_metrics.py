from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avl_pegp.evaluation import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)

MATRIX = [
    [0.8, None, None],
    [0.9, 0.6, None],
    [0.5, 0.7, 0.4],
]


@st.composite
def matrices(draw):
    size = draw(st.integers(1, 6))
    share = st.floats(0, 1)
    return [[draw(share) if j <= i else None for j in range(size)] for i in range(size)]


def test_the_numbers_of_a_small_matrix():
    assert average_accuracy(MATRIX) == pytest.approx((0.5 + 0.7 + 0.4) / 3)
    assert average_incremental_accuracy(MATRIX) == pytest.approx((0.8 + 0.75 + 1.6 / 3) / 3)
    # best earlier minus last: 0.9 − 0.5 (Avalanche would take the first, 0.8), and 0.6 − 0.7
    assert forgetting(MATRIX) == pytest.approx((0.4 - 0.1) / 2)
    # last minus right after learning: 0.5 − 0.8, and 0.7 − 0.6
    assert backward_transfer(MATRIX) == pytest.approx((-0.3 + 0.1) / 2)


@given(matrices())
def test_the_numbers_of_any_matrix_are_numpys(matrix):
    a = np.array(matrix, dtype=float)
    assert average_accuracy(matrix) == pytest.approx(a[-1].mean())
    assert average_incremental_accuracy(matrix) == pytest.approx(np.nanmean(a, axis=1).mean())
    if len(a) > 1:
        best = np.nanmax(a[:-1, :-1], axis=0)
        assert forgetting(matrix) == pytest.approx((best - a[-1, :-1]).mean(), abs=1e-12)
        gain = (a[-1] - np.diag(a))[:-1].mean()
        assert backward_transfer(matrix) == pytest.approx(gain, abs=1e-12)
        assert -backward_transfer(matrix) <= forgetting(matrix) + 1e-12  # the best is not worse
    else:
        assert forgetting(matrix) == backward_transfer(matrix) == 0


def test_forward_transfer_is_what_was_there_ahead_beyond_chance():
    assert forward_transfer([0.9, 0.5, 0.6], [0.1, 0.1, 0.3]) == pytest.approx((0.4 + 0.3) / 2)
    assert forward_transfer([None, 0.5], [None, 0.7]) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("ahead", "initial"),
    [([None, None, 0.5], [0.1, 0.1, 0.1]), ([0.5, 0.5, 0.5], [0.1, 0.1, None]), ([0.5], [0.1])],
)
def test_forward_transfer_is_unknown_where_something_was_not_evaluated(ahead, initial):
    assert forward_transfer(ahead, initial) is None


def test_an_experience_that_was_not_evaluated_is_named():
    with pytest.raises(ValueError, match=r"row 1 lacks \[0\]"):
        forgetting([[0.5, None], [None, 0.5]])
