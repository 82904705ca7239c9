"""Maps that tell how features have moved: by a plain least-squares solution, and by classes left out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avl_pegp.heads import chosen_ridge, kept_off, ridge_map


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25)
@given(
    n=st.integers(1, 30),
    d=st.integers(1, 8),
    ridge=st.sampled_from([1e-6, 1e-2, 1.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_the_map_minimises_what_it_says(n, d, ridge, seed):
    before, after = drawn(n, d, seed=seed), drawn(n, d, seed=seed + 100)
    strength = ridge * before.square().sum() / d
    # ‖F_new − F_old Wᵀ‖² + λ ‖W − I‖² as one least-squares problem with d rows more.
    rows = torch.cat([before, strength.sqrt() * torch.eye(d)])
    values = torch.cat([after, strength.sqrt() * torch.eye(d)])
    expected = torch.linalg.lstsq(rows, values, driver="gelsd").solution.mT
    torch.testing.assert_close(ridge_map(before, after, ridge), expected, rtol=1e-6, atol=1e-6)


def test_a_linear_drift_is_found_and_a_strong_ridge_finds_none():
    before, W = drawn(50, 4), drawn(4, 4, seed=1)
    torch.testing.assert_close(ridge_map(before, before @ W.mT, 1e-12), W)
    unit = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(ridge_map(before, before @ W.mT, 1e12), unit)


def test_directions_that_no_feature_has_stay_as_they_are():
    before = drawn(50, 4) * torch.tensor([1.0, 1, 1, 0])
    after = before + drawn(50, 4, seed=1)
    found = ridge_map(before, after, 0.1)
    torch.testing.assert_close(found[:, 3], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64))
    nothing = torch.zeros(5, 3)
    assert torch.equal(ridge_map(nothing, nothing, 0.1), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_in_half_precision_are_mapped_in_double(dtype):
    before, after = drawn(40, 4).to(dtype), drawn(40, 4, seed=1).to(dtype)
    expected = ridge_map(before.double(), after.double(), 0.1)
    assert torch.equal(ridge_map(before, after, 0.1), expected)


def test_the_ridge_is_small_where_all_classes_move_alike():
    before, W = drawn(80, 5), drawn(5, 5, seed=1)
    classes = torch.arange(80)[:, None] % 4
    assert chosen_ridge(before, before @ W.mT, classes) == 1e-4


def test_there_is_no_map_where_classes_move_each_its_own_way():
    before, classes = drawn(80, 5), torch.arange(80) % 4
    ways = drawn(4, 5, 5, seed=1)
    after = before + torch.einsum("nij,nj->ni", ways[classes], before)
    own = before + (before @ ways[0].mT)
    assert chosen_ridge(before, after, classes[:, None]) is None
    assert chosen_ridge(before, own, classes[:, None]) is not None


def test_there_is_no_map_where_nothing_moves():
    before = drawn(40, 3)
    assert chosen_ridge(before, before, torch.arange(40)[:, None] % 4) is None


def test_a_noisier_drift_wants_a_stronger_ridge():
    before, W = drawn(60, 5), torch.eye(5) + 0.3 * drawn(5, 5, seed=1)
    classes = torch.arange(60)[:, None] % 4
    clean = chosen_ridge(before, before @ W.mT, classes)
    noisy = chosen_ridge(before, before @ W.mT + 0.5 * drawn(60, 5, seed=2), classes)
    assert clean < noisy


def test_of_one_class_halves_are_left_out():
    before, W = drawn(40, 3), drawn(3, 3, seed=1)
    assert chosen_ridge(before, before @ W.mT, torch.zeros(40, 2, dtype=torch.int64)) == 1e-4


def test_an_image_made_of_two_classes_is_seen_only_when_neither_is_left_out():
    before, W = drawn(90, 3), drawn(3, 3, seed=1)
    origins = torch.stack([torch.arange(90) % 3, torch.arange(90) // 3 % 3], dim=1)
    after = before @ W.mT
    mixed = origins[:, 0] != origins[:, 1]
    after[mixed] = 100 * drawn(int(mixed.sum()), 3, seed=2)  # which would spoil any map
    few = chosen_ridge(before, after, origins)
    alone = chosen_ridge(before[~mixed], after[~mixed], origins[~mixed])
    assert alone == 1e-4
    assert few is None or few >= 10


def ridge_of(before, after, ridge=0.1):
    return ridge_map(before, after, ridge)


def choice_of(before, after, origins=None):
    origins = torch.zeros(len(before), 1) if origins is None else origins
    return chosen_ridge(before, after, origins)


@pytest.mark.parametrize("estimate", [ridge_of, choice_of])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2), r"before have shape \(3, 2\) and after \(4, 2\)"),
        (torch.zeros(3), torch.zeros(3), r"must be \(N, d\) both"),
        (torch.zeros(3, 2), torch.full((3, 2), math.nan), "NaN or infinite"),
        (torch.full((3, 2), math.inf), torch.zeros(3, 2), "NaN or infinite"),
    ],
)
def test_features_that_are_no_pairs_are_refused(estimate, before, after, message):
    with pytest.raises(ValueError, match=message):
        estimate(before, after)


@pytest.mark.parametrize("ridge", [0, -1.0, math.nan, math.inf])
def test_a_ridge_out_of_range_is_refused(ridge):
    with pytest.raises(ValueError, match="ridge=.*must be above 0 and finite"):
        ridge_map(torch.ones(3, 2), torch.ones(3, 2), ridge)


def test_origins_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"origins have shape \(4,\): must be \(3, m\)"):
        choice_of(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(4))


@settings(max_examples=25)
@given(d=st.integers(1, 8), k=st.integers(0, 8), seed=st.integers(0, 99))
def test_a_map_that_is_kept_off_directions_leaves_them_and_all_else_as_it_was(d, k, seed):
    W, directions = drawn(d, d, seed=seed), drawn(d, k, seed=seed + 100)
    found = kept_off(W, directions)
    torch.testing.assert_close(found @ directions, directions)
    # What is orthogonal to all of them goes where it went.
    rest = torch.eye(d, dtype=torch.float64) - directions @ torch.linalg.pinv(directions)
    torch.testing.assert_close(found @ rest, W @ rest)


def test_directions_that_say_the_same_twice_or_nothing_do_no_harm():
    W, one = drawn(3, 3), drawn(3, 1, seed=1)
    twice = torch.cat([one, 2 * one, torch.zeros(3, 1)], dim=1)
    torch.testing.assert_close(kept_off(W, twice), kept_off(W, one))
    assert torch.equal(kept_off(W, torch.zeros(3, 1)), W)
