"""Class statistics at the edges: half precision, wrong labels, classes that do not vary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from avl_pegp.heads import create_head

RULES = ["lda", "ncm"]
EPS = {torch.float64: 1e-12, torch.float32: 1e-6}


def blobs(seed=0, n=90, width=6):
    """Three classes that overlap, far from zero as features behind a LayerNorm are."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(9)).double()
    return 30 + centres[y] + torch.randn(n, width, generator=g).double(), y


def learned(x, y, rule="lda", classes=3, **options):
    statistics = create_head(rule, classes, x.shape[1], **options)
    statistics.update(x, y)
    return statistics


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("dtype", "returned"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float32),
    ],
    ids=str,
)
def test_logits_are_those_of_float64_whatever_the_features_are_in(rule, dtype, returned):
    x, y = (v.to(t) for v, t in zip(blobs(), (dtype, torch.int64), strict=True))
    ours, exact = learned(x, y, rule).logits(x), learned(x.double(), y, rule).logits(x.double())
    assert ours.dtype == returned
    torch.testing.assert_close(ours.double(), exact, rtol=EPS[returned], atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_features_in_half_precision_are_told_apart(dtype):
    """Their logits are beyond what fp16 holds, and differ by less than bf16 resolves."""
    y = torch.arange(60) % 3
    x = 200 + 8.0 * torch.nn.functional.one_hot(y, 3).double()
    x += torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).double()
    for rule in RULES:
        logits = learned(x.to(dtype), y, rule).logits(x.to(dtype))
        assert logits.isfinite().all()
        assert (logits.argmax(1) == y).all()


WRONG = {
    "negative": (
        torch.zeros(2, 4),
        torch.tensor([0, -1]),
        r"labels hold \[-1\]: must be from 0 to 2",
    ),
    "too large": (
        torch.zeros(2, 4),
        torch.tensor([0, 3]),
        r"labels hold \[3\]: must be from 0 to 2",
    ),
    "fractions": (
        torch.zeros(2, 4),
        torch.tensor([0, 0.5]),
        "labels are torch.float32: must be whole",
    ),
    "truths": (
        torch.zeros(2, 4),
        torch.tensor([True, False]),
        "labels are torch.bool: must be whole",
    ),
    "one hot": (
        torch.zeros(2, 4),
        torch.eye(2, 3).long(),
        r"labels have shape \(2, 3\): must be \(2,\)",
    ),
    "fewer": (torch.zeros(2, 4), torch.tensor([0]), r"labels have shape \(1,\): must be \(2,\)"),
    "more": (torch.zeros(1, 4), torch.tensor([0, 1]), r"labels have shape \(2,\): must be \(1,\)"),
    "narrow": (
        torch.zeros(2, 3),
        torch.tensor([0, 1]),
        r"features have shape \(2, 3\): must be \(B, 4",
    ),
    "flat": (torch.zeros(4), torch.tensor([0]), r"features have shape \(4,\): must be \(B, 4\)"),
    "NaN": (torch.full((2, 4), torch.nan), torch.tensor([0, 1]), "NaN or infinite"),
    "huge": (torch.eye(2, 4).double() * 1e200, torch.tensor([0, 0]), "covariance is infinite"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("fresh", [True, False])
def test_what_cannot_be_counted_is_refused_whole(case, fresh):
    features, labels, message = WRONG[case]
    statistics = create_head("lda", 3, 4)
    if not fresh:
        statistics.update(torch.eye(3, 4), torch.tensor([0, 1, 1]))
    kept = [t.clone() for t in (statistics.counts, statistics.means, statistics.scatter)]
    with pytest.raises(ValueError, match=message):
        statistics.update(features, labels)
    now = (statistics.counts, statistics.means, statistics.scatter)
    assert all(map(torch.equal, kept, now))


@pytest.mark.parametrize(
    "features", [torch.zeros(2, 3), torch.zeros(4), torch.full((1, 4), torch.nan)]
)
@pytest.mark.parametrize("rule", RULES)
def test_no_logits_are_made_of_wrong_features(features, rule):
    statistics = learned(torch.eye(4, dtype=torch.float64), torch.tensor([0, 0, 1, 1]), rule)
    with pytest.raises(ValueError, match="features"):
        statistics.logits(features)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_whole_numbers_of_any_kind_are_labels(dtype):
    x, y = blobs()
    assert torch.equal(learned(x, y.to(dtype)).means, learned(x, y).means)


def test_an_empty_batch_adds_nothing():
    x, y = blobs()
    statistics = learned(x, y)
    statistics.update(x[:0], y[:0])
    assert torch.equal(statistics.scatter, learned(x, y).scatter)
    assert statistics.logits(x[:0]).shape == (0, 3)


def degenerate(kind):
    """Features without an invertible covariance, whose classes differ only where they vary."""
    x, y = blobs()
    return {
        "a constant": torch.cat([x, torch.full((len(x), 1), 0.1).double()], dim=1),
        "a copy": torch.cat([x, x[:, :1]], dim=1),
        "a sum": torch.cat([x, x.sum(1, keepdim=True), x.mean(1, keepdim=True)], dim=1),
        "always 0": torch.cat([x, 0 * x], dim=1),
    }[kind], y


@pytest.mark.parametrize("kind", ["a constant", "a copy", "a sum", "always 0"])
def test_without_shrinkage_a_singular_covariance_decides_as_scikit_learns(kind):
    x, y = degenerate(kind)
    ours = learned(x, y, shrinkage=0.0).logits(x)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3).fit(x.numpy(), y.numpy())
    gaps = theirs.decision_function(x.numpy())
    gaps -= gaps.mean(1, keepdims=True)
    mine = (ours - ours.mean(1, keepdim=True)).numpy() * len(x) / (len(x) - 3)
    np.testing.assert_allclose(mine, gaps, atol=1e-6)


@pytest.mark.parametrize("shrinkage", [0.0, 1e-30])
@pytest.mark.parametrize("kind", ["a constant", "a copy", "a sum", "always 0"])
def test_what_varies_in_no_class_and_says_nothing_changes_no_answer(kind, shrinkage):
    (wide, y), (x, _) = degenerate(kind), blobs()
    bare = learned(x, y, shrinkage=0.0).logits(x)
    ours = learned(wide, y, shrinkage=shrinkage).logits(wide)
    gaps, expected = (v - v.mean(1, keepdim=True) for v in (ours, bare))
    torch.testing.assert_close(gaps, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.tensor([[0.0, 0.0], [1, 0], [0, 1], [1, 1]]), torch.tensor([0, 0, 1, 1])),
        (torch.randn(6, 9, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2),
    ],
    ids=["a perfect feature", "fewer samples than features"],
)
def test_without_shrinkage_classes_an_infinite_distance_apart_are_refused(x, y):
    with pytest.raises(ValueError, match=r"shrinkage=0.0: class means differ .* such as 0.01"):
        learned(x, y, classes=2, shrinkage=0.0).logits(x)
    assert (learned(x, y, classes=2).logits(x).argmax(1) == y).all()  # the default takes them


@pytest.mark.parametrize("shrinkage", [0.0, 0.01])
def test_a_class_of_one_sample_is_a_class(shrinkage):
    x, y = blobs(n=60)
    more, lone = torch.cat([x, x[:1] + 50]), torch.cat([y, torch.tensor([3])])
    statistics = learned(more, lone, classes=5, shrinkage=shrinkage)
    assert statistics.logits(x[:1] + 50)[0].argmax() == 3
    once = learned(torch.eye(3, 4), torch.arange(3), shrinkage=shrinkage)
    assert once.logits(torch.eye(3, 4)).argmax(1).tolist() == [0, 1, 2]
