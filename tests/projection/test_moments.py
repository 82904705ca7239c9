from __future__ import annotations

import numpy as np
import pytest
import torch

from avl_pegp.projection import Moment


def numpy_moment(rows: np.ndarray) -> np.ndarray:
    with_one = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    return with_one.T @ with_one


def test_a_moment_is_that_of_the_rows_and_a_one():
    x = torch.randn(2, 5, 3)
    expected = numpy_moment(x.double().numpy().reshape(-1, 3))
    np.testing.assert_allclose(Moment.of(x).matrix[0].numpy(), expected)


def test_heads_have_moments_of_their_own():
    x = torch.randn(2, 4, 5, 3)  # (B, H, N, d)
    moment = Moment.of(x, groups=4)
    for head in range(4):
        rows = x[:, head].double().numpy().reshape(-1, 3)
        np.testing.assert_allclose(moment.matrix[head].numpy(), numpy_moment(rows))


def test_many_rows_are_added_in_parts(monkeypatch):
    x = torch.randn(50, 3)
    whole = Moment.of(x)
    monkeypatch.setattr("avl_pegp.projection.moments._ROWS_AT_ONCE", 7)
    torch.testing.assert_close(Moment.of(x).matrix, whole.matrix)


def test_batches_add_up_in_float64_and_the_coarsest_dtype_counts():
    x = torch.randn(8, 3)
    total = Moment.of(x[:4].double()) + Moment.of(x[4:])
    torch.testing.assert_close(total.matrix, Moment.of(x).matrix)
    assert total.matrix.dtype == torch.float64
    assert total.feature_eps == torch.finfo(torch.float32).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_rows_stay_a_thin_factor_and_no_row_stays_itself(dtype):
    batches = [torch.randn(3, 20, dtype=dtype) for _ in range(3)]
    moment = sum((Moment.of(x) for x in batches[1:]), start=Moment.of(batches[0]))
    assert moment.stored.shape == (1, 9, 21)
    rows = torch.cat(batches).double()
    np.testing.assert_allclose(moment.matrix[0].numpy(), numpy_moment(rows.numpy()), atol=1e-12)
    likeness = torch.corrcoef(torch.cat([rows, moment.stored[0, :, :20]]))[:9, 9:]
    assert likeness[1:, 1:].abs().max() < 0.95


def test_many_rows_of_float32_are_squared_and_those_of_float64_are_not():
    x = torch.randn(500, 8)
    assert Moment.of(x).stored.shape == Moment.of(x.double()).stored.shape == (1, 9, 9)
    torch.testing.assert_close(Moment.of(x).stored, Moment.of(x).matrix)
    assert torch.equal(Moment.of(x.double()).stored.tril(-1), torch.zeros(1, 9, 9).double())


@pytest.mark.parametrize("rows", [0, 1, 4, 50])
@pytest.mark.parametrize("groups", [1, 3])
def test_both_forms_answer_the_same(rows, groups):
    x = torch.randn(*((2, groups) if groups > 1 else ()), rows, 6)
    by_factor, by_square = Moment.of(x.double(), groups), Moment.of(x, groups)
    by_square = Moment(by_square.matrix, True, by_square.feature_eps)
    for width in (6, 7):
        weight = torch.randn(groups, 4, width, dtype=torch.float64)
        of_factor, of_square = (
            [
                m.mean(width),
                m.about_mean(width),
                m.times(weight),
                torch.tensor(m.energy(weight)),
                m.count,
                (m + m).matrix,
                (m + by_square).matrix,
                Moment.of_zeros(m, 2).matrix,
                m.form_about_mean(0, width).energy(),
                m.form(0, width).energy(2),
                m.form(0, width).along(weight[0].mT),
            ]
            for m in (by_factor, by_square)
        )
        torch.testing.assert_close(of_factor, of_square, rtol=1e-6, atol=1e-6)


def test_a_state_of_either_form_comes_back_also_as_it_was_written_before_there_were_factors():
    x = torch.randn(3, 20)
    for moment in (Moment.of(x), Moment.of(x.repeat(40, 1))):
        back = Moment.from_state(moment.to_state())
        assert torch.equal(back.stored, moment.stored) and back.squared is moment.squared
    old = Moment.from_state({"matrix": Moment.of(x).matrix, "feature_eps": 2**-23})
    torch.testing.assert_close((old + Moment.of(x)).matrix, 2 * Moment.of(x).matrix)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
@pytest.mark.parametrize("rows", [2, 50])
def test_no_form_hides_what_is_no_number_or_too_large(rows, value):
    x = torch.ones(rows, 8, dtype=torch.float64)
    x[1, 3] = value
    assert not Moment.of(x).is_finite()
