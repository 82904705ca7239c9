from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avl_pegp.projection import Moment
from avl_pegp.projection.observing import Observer, inference_state


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


class Twice(nn.Module):
    """One layer called twice, and two others that see what the first call saw."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(x) + self.c(input=x) + self.a(self.a(x))[..., :2]


def observe(model, batches):
    observer = Observer({name: (getattr(model, name), 1) for name in "abc"}, {})
    with inference_state(model), observer.watching():
        for batch in batches:
            model(batch)
            observer.end_of_batch()
    return observer.moments


def test_every_call_counts_and_equal_inputs_share_one_moment():
    model, batches = Twice(), [torch.randn(4, 3), torch.randn(2, 3)]
    moments = observe(model, batches)
    assert moments["b"] is moments["c"]
    assert moments["a"] is not moments["b"]
    with torch.no_grad():
        rows = torch.cat([torch.cat([x, model.a(x)]) for x in batches])
    torch.testing.assert_close(moments["a"].matrix, Moment.of(rows).matrix)
    torch.testing.assert_close(moments["b"].matrix, Moment.of(torch.cat(batches)).matrix)


def test_a_tensor_changed_in_place_is_another_tensor():
    class InPlace(Twice):
        def forward(self, x):
            y = self.b(x)
            x.mul_(2)
            return y + self.c(x) + self.a(x)[..., :2]

    x = torch.randn(4, 3)
    moments = observe(InPlace(), [x.clone()])
    torch.testing.assert_close(moments["b"].matrix, Moment.of(x).matrix)
    torch.testing.assert_close(moments["c"].matrix, Moment.of(2 * x).matrix)
    assert moments["a"] is moments["c"]


def test_no_hook_and_no_mode_stays_behind_even_after_an_error():
    model = Twice().train()
    model.b.eval()
    with pytest.raises(ValueError, match="site b received NaN"):
        observe(model, [torch.full((1, 3), float("nan"))])
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.training
    assert not model.b.training
