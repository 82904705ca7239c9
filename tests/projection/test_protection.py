"""The rules by which bases grow and hold, against singular values of the rows themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avl_pegp.projection import Basis, Moment, Projector, Protection

seeds = st.integers(0, 2**31 - 1)
protections = st.builds(
    Protection,
    memory=st.sampled_from(["union", "covariance"]),
    centred=st.booleans(),
    power=st.sampled_from([1, 2]),
    eta=st.floats(0.1, 1.0),
    alpha=st.none() | st.floats(0, 100),
)


def experiences(seed: int, count: int, d: int, rank: int | None = None) -> list[np.ndarray]:
    """Rows whose directions differ in size by up to 100, about a mean of their own."""
    g = np.random.default_rng(seed)
    rank = d if rank is None else rank
    sizes = np.logspace(0, -2, rank)[:, None]
    return [
        g.normal(size=(30, rank)) @ (sizes * g.normal(size=(rank, d)))
        + g.normal() * g.normal(size=d) * (rank == d)
        for _ in range(count)
    ]


def grown(history: list[np.ndarray], energy: float, protection: Protection) -> Basis:
    """The basis after the experiences, as the package extends it."""
    basis, total = Basis.empty(history[0].shape[1]), None
    for rows in history:
        gathered = Moment.of(torch.from_numpy(rows))
        total = gathered if total is None else total + gathered
        (basis,) = protection.extend([basis], gathered, total, energy)
    return basis


def held(basis: Basis) -> np.ndarray:
    """``(d, d)``, what a step loses: U diag(h) Uᵀ."""
    return (basis.columns * basis.holds @ basis.columns.mT).numpy()


def numpy_held(history: list[np.ndarray], energy: float, rule: Protection) -> np.ndarray:
    """The same by the papers' words, from the rows."""
    U, importance = np.zeros((history[0].shape[1], 0)), np.zeros(0)
    for t, rows in enumerate(history):
        if rule.memory == "covariance":
            rows, U, importance = np.concatenate(history[: t + 1]), U[:, :0], importance[:0]
        varying = rows
        if rule.centred:
            mean = rows.mean(0)
            rest, varying = mean - U @ (U.T @ mean), rows - mean
            if np.linalg.norm(rest) > 1e-6 * np.linalg.norm(mean):  # else rounding noise
                U = np.column_stack([U, rest / np.linalg.norm(rest)])
        _, left, directions = np.linalg.svd(varying - varying @ U @ U.T)
        total = (np.linalg.svd(varying, compute_uv=False) ** (2 * rule.power)).sum()
        captured, new = total - (left ** (2 * rule.power)).sum(), 0
        while captured < energy * total:
            captured, new = captured + left[new] ** (2 * rule.power), new + 1
        U = np.column_stack([U, directions[:new].T])
        if rule.alpha is None:
            importance = np.ones(U.shape[1])
            continue
        s = np.linalg.norm(rows @ U, axis=0)
        now = (rule.alpha + 1) * s / (rule.alpha * s + s.max())
        now[: len(importance)] += importance
        importance = np.minimum(now, 1)
    return rule.eta * (U * importance) @ U.T


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "both"),
        ("power", 0),
        ("power", 3),
        ("eta", 0),
        ("eta", -0.5),
        ("eta", 1.01),
        ("eta", math.nan),
        ("alpha", -1),
        ("alpha", math.inf),
        ("alpha", math.nan),
    ],
)
def test_wrong_fields_are_refused_by_name_and_value(field, value):
    with pytest.raises(ValueError, match=rf"Protection\.{field}={value!r}: must be"):
        Protection(**{field: value})


@pytest.mark.parametrize(
    ("options", "hard"),
    [({}, True), ({"centred": True}, True), ({"eta": 0.9}, False), ({"alpha": 10}, False)],
)
def test_a_protection_is_hard_unless_eta_or_alpha_say_otherwise(options, hard):
    assert Protection(**options).is_hard is hard
    assert grown(experiences(0, 1, 6), 0.9, Protection(**options)).is_hard is hard


@given(seeds, st.integers(3, 8), st.integers(1, 4), st.floats(0.3, 0.99), protections)
def test_what_is_held_is_what_the_papers_say(seed, d, count, energy, protection):
    history = experiences(seed, count, d)
    expected = numpy_held(history, energy, protection)
    np.testing.assert_allclose(held(grown(history, energy, protection)), expected, atol=1e-6)


@given(seeds, st.integers(1, 3), st.booleans(), st.sampled_from(["union", "covariance"]))
def test_at_full_energy_every_rule_takes_exactly_the_span(seed, rank, centred, memory):
    history = experiences(seed, 2, 10, rank)
    U = grown(history, 1.0, Protection(memory=memory, centred=centred)).columns.numpy()
    rows = np.concatenate(history)
    assert U.shape[1] == np.linalg.matrix_rank(rows) == 2 * rank
    np.testing.assert_allclose(rows @ U @ U.T, rows, atol=1e-9)


def test_a_union_keeps_what_a_covariance_gives_up_for_something_larger():
    history = [np.eye(3)[:1], 10 * np.eye(3)[1:2]]
    assert grown(history, 0.9, Protection()).columns.abs().sum(1).tolist() == [1, 1, 0]
    covariance = grown(history, 0.9, Protection(memory="covariance"))
    assert covariance.columns.abs().sum(1).tolist() == [0, 1, 0]


def test_a_large_mean_hides_what_varies_unless_it_is_counted_apart():
    rows = np.array([[100.0, 1, 0], [100, -1, 0], [100, 0, 0.1], [100, 0, -0.1]])
    assert grown([rows], 0.97, Protection()).rank == 1
    centred = grown([rows], 0.97, Protection(centred=True))
    np.testing.assert_allclose(held(centred), np.diag([1, 1, 0]), atol=1e-12)


def test_centred_features_without_variation_leave_their_mean_alone_protected():
    rows = np.tile([[3.0, 4.0, 0.0]], (5, 1))
    basis = grown([rows], 0.5, Protection(centred=True))
    np.testing.assert_allclose(basis.columns.abs().numpy(), [[0.6], [0.8], [0]])


def test_a_higher_power_takes_fewer_directions():
    rows = np.diag([2.0, 1.0, 0.5])  # σ² 4, 1, 0.25; σ⁴ 16, 1, 0.0625
    assert grown([rows], 0.93, Protection()).rank == 2
    assert grown([rows], 0.93, Protection(power=2)).rank == 1


@given(seeds, st.floats(0, 20))
def test_importance_adds_up_to_one_and_never_beyond(seed, alpha):
    rows = experiences(seed, 1, 6)
    holds = torch.zeros(0, dtype=torch.float64)
    for times in range(1, 40):
        basis = grown(rows * times, 0.9, Protection(alpha=alpha))
        assert (basis.holds[: len(holds)] >= holds).all() and basis.holds.max() <= 1
        if basis.is_hard:
            break
        holds = basis.holds
    assert basis.is_hard
    assert times > 1 or basis.rank == 1  # only the largest is held fully from the first


@given(seeds, st.booleans())
def test_an_endless_alpha_holds_everything_fully(seed, centred):
    history = experiences(seed, 2, 6)
    hard = held(grown(history, 0.9, Protection(centred=centred)))
    soft = held(grown(history, 0.9, Protection(centred=centred, alpha=1e12)))
    np.testing.assert_allclose(soft, hard, atol=1e-6)


@given(seeds, st.floats(0.1, 1.0))
def test_eta_mixes_the_projection_with_the_identity(seed, eta):
    history, g = experiences(seed, 2, 6), torch.Generator().manual_seed(seed)
    delta = torch.randn(1, 4, 6, generator=g, dtype=torch.float64)
    hard, soft = (Projector([grown(history, 0.8, Protection(eta=e))]) for e in (1.0, eta))
    torch.testing.assert_close(soft(delta), eta * hard(delta) + (1 - eta) * delta)


@given(protections, st.floats(0.1, 1.0))
def test_features_that_are_all_zero_hold_nothing_and_loosen_nothing(protection, energy):
    rows, zeros = experiences(0, 1, 5)[0], np.zeros((7, 5))
    assert grown([zeros], energy, protection).rank == 0
    before, after = (grown(h, energy, protection) for h in ([rows], [rows, zeros]))
    if protection.memory == "union":
        np.testing.assert_allclose(held(after), held(before), atol=1e-12)
    assert torch.isfinite(after.holds).all()
