from __future__ import annotations

import numpy as np
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
