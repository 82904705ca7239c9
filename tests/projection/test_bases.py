"""The linear algebra, as properties, and against a few lines of numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from avl_pegp.projection import Basis, Projector, extend_basis

EPS64 = float(np.finfo(np.float64).eps)
seeds = st.integers(0, 2**31 - 1)
energies = st.floats(0.05, 1.0)


def features(seed: int, rows: int, d: int, rank: int) -> torch.Tensor:
    """Rows of a given rank whose directions differ in size by up to 1000."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(0, -3, rank, dtype=torch.float64)
    draw = torch.randn(rows, rank, generator=g, dtype=torch.float64) * sizes
    return draw @ torch.randn(rank, d, generator=g, dtype=torch.float64)


def hard(columns: torch.Tensor) -> Basis:
    return Basis(columns, torch.ones(columns.shape[1], dtype=torch.float64))


def grown(x: torch.Tensor, energy: float, basis: torch.Tensor | None = None) -> torch.Tensor:
    basis = torch.zeros(x.shape[1], 0, dtype=torch.float64) if basis is None else basis
    return extend_basis(basis, x.mT @ x, energy, EPS64)


def numpy_rank(x: np.ndarray, energy: float) -> int:
    """GPM's rule: the fewest singular values whose squares make up the share."""
    squares = np.linalg.svd(x, compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(squares) / squares.sum(), energy) + 1)


@given(seeds, st.integers(1, 12), st.integers(2, 12), energies)
def test_columns_are_orthonormal_and_old_ones_unchanged(seed, rank, d, energy):
    first = grown(features(seed, 30, d, min(rank, d)), energy)
    both = grown(features(seed + 1, 30, d, min(rank, d)), energy, first)
    gram = both.mT @ both
    assert (gram - torch.eye(len(gram), dtype=torch.float64)).norm() <= 1e-12
    assert torch.equal(both[:, : first.shape[1]], first)


@given(seeds, st.integers(2, 12), st.floats(0.05, 0.999))
def test_the_share_is_reached_and_one_direction_less_would_miss_it(seed, d, energy):
    first = grown(features(seed, 30, d, d), energy)
    x = features(seed + 1, 30, d, d)
    both = grown(x, energy, first)

    def share(basis):
        return float((x @ basis).square().sum() / x.square().sum())

    assert share(both) >= energy - 1e-12
    if both.shape[1] > first.shape[1]:
        assert share(both[:, :-1]) < energy


@given(seeds, st.integers(2, 12), st.floats(0.05, 0.999))
def test_the_rank_is_numpys(seed, d, energy):
    x = features(seed, 30, d, d)
    assert grown(x, energy).shape[1] == numpy_rank(x.numpy(), energy)


@given(seeds, st.integers(1, 10), st.integers(10, 40))
def test_full_energy_takes_exactly_the_true_rank(seed, rank, d):
    x = features(seed, 50, d, rank)
    assert grown(x, 1.0).shape[1] == rank
    assert grown(x, 1.0, grown(x, 1.0)).shape[1] == rank  # the same again adds nothing


def test_half_precision_features_leave_more_to_noise_than_float64_ones():
    x = torch.diag(torch.tensor([1.0, 1e-4], dtype=torch.float64))
    empty = torch.zeros(2, 0, dtype=torch.float64)
    assert extend_basis(empty, x @ x, 1.0, EPS64).shape[1] == 2
    assert extend_basis(empty, x @ x, 1.0, 2**-10).shape[1] == 1


def test_zero_features_add_nothing():
    assert grown(torch.zeros(5, 3, dtype=torch.float64), 1.0).shape == (3, 0)


@given(seeds, st.integers(2, 16), st.data())
def test_a_projector_equals_the_full_matrix_for_any_rank(seed, d, data):
    ranks = data.draw(st.lists(st.integers(0, d), min_size=1, max_size=3))
    g = torch.Generator().manual_seed(seed)
    bases = [
        torch.linalg.qr(torch.randn(d, max(k, 1), generator=g, dtype=torch.float64))[0][:, :k]
        for k in ranks
    ]
    delta = torch.randn(len(ranks), 5, d, generator=g, dtype=torch.float64)
    out = Projector([hard(basis) for basis in bases])(delta)
    for basis, before, after in zip(bases, delta, out, strict=True):
        full = np.eye(d) - basis.numpy() @ basis.numpy().T
        np.testing.assert_allclose(after.numpy(), before.numpy() @ full, atol=1e-12)
    torch.testing.assert_close(
        Projector([hard(basis) for basis in bases])(out), out, atol=1e-12, rtol=0
    )


@given(seeds, st.integers(2, 12), st.data())
def test_directions_held_in_part_lose_their_share(seed, d, data):
    ranks = data.draw(st.lists(st.integers(0, d), min_size=1, max_size=3))
    g = torch.Generator().manual_seed(seed)
    bases = []
    for k in ranks:
        columns = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0][:, :k]
        bases.append(Basis(columns, torch.rand(k, generator=g, dtype=torch.float64)))
    delta = torch.randn(len(ranks), 5, d, generator=g, dtype=torch.float64)
    project = Projector(bases)
    for basis, before, after in zip(bases, delta, project(delta), strict=True):
        U, h = basis.columns.numpy(), basis.holds.numpy()
        full = np.eye(d) - U @ np.diag(h) @ U.T
        np.testing.assert_allclose(after.numpy(), before.numpy() @ full, atol=1e-12)
    assert project.is_hard is all(basis.is_hard for basis in bases) is (max(ranks) == 0)


@given(seeds)
def test_projections_from_both_sides_commute(seed):
    g = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(n, 2, generator=g, dtype=torch.float64))[0] for n in (6, 4))
    delta = torch.randn(1, 4, 6, generator=g, dtype=torch.float64)
    right, left = Projector([hard(u)]), Projector([hard(v)])
    torch.testing.assert_close(right(left(delta.mT).mT), left(right(delta).mT).mT)
