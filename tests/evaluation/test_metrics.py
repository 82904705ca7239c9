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
    transfer_avg_last,
)

MATRIX = [
    [0.8, None, None],
    [0.9, 0.6, None],
    [0.5, 0.7, 0.4],
]
FULL = [
    [0.9, 0.4, 0.3],
    [0.7, 0.8, 0.2],
    [0.6, 0.5, 0.7],
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
@pytest.mark.long
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


def test_transfer_average_and_last_of_a_small_matrix():
    numbers = transfer_avg_last(FULL)
    assert numbers.transfer == pytest.approx((0.4 + (0.3 + 0.2) / 2) / 2)
    assert numbers.average == pytest.approx(5.1 / 9)
    assert numbers.last == pytest.approx(1.8 / 3)


@given(
    st.integers(2, 6).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n))
)
def test_transfer_average_and_last_of_any_matrix_are_numpys(entries):
    size = round(len(entries) ** 0.5)
    a = np.array(entries).reshape(size, size)
    transfer, average, last = transfer_avg_last(a.tolist())
    ahead = [np.mean([a[i, j] for i in range(j)]) for j in range(1, size)]
    assert transfer == pytest.approx(np.mean(ahead))
    assert (average, last) == pytest.approx((a.mean(), a[-1].mean()))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([], "matrix has 0 rows"),
        ([[0.5]], "matrix has 1 rows: Transfer is defined from two data sets on"),
        ([[0.5, None], [0.5, 0.5]], r"matrix row 0 has 2 of 2 entries and lacks \[1\]"),
        ([[0.5, 0.5], [0.5]], "matrix row 1 has 1 of 2 entries"),
        ([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], "matrix row 0 has 3 of 2 entries"),
    ],
)
def test_a_matrix_that_is_not_full_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        transfer_avg_last(matrix)
