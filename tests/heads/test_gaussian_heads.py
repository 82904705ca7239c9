"""Heads on a Gaussian for each class, against densities, regressions and samples written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.distributions import MultivariateNormal

from avl_pegp.heads import HEADS, ClassGaussians, create_head

GAUSSIAN = [name for name, head in HEADS.items() if issubclass(head, ClassGaussians)]


def samples(n=120, seed=0, width=4):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(9)).double()
    spread = torch.tensor([0.3, 1.0, 2.0]).double()[y, None]
    return 2 + centres[y] + spread * torch.randn(n, width, generator=g).double(), y


def learned(name, x, y, classes=3, **options):
    head = create_head(name, classes, x.shape[1], **options)
    head.update(x, y)
    return head


def gaps(logits):
    return logits - logits.mean(1, keepdim=True)


@pytest.mark.parametrize(("s", "prior"), [(0.2, 7.0), (0.0, 1.0), (0.5, 0.0)])
def test_qda_is_the_density_of_the_shrunk_gaussians(s, prior):
    x, y = samples()
    keep = (y < 2) | (torch.arange(120) == 2)  # the last class has one sample
    x, y = x[keep], y[keep]
    shared = sum((y == c).sum().sub(1) * torch.cov(x[y == c].mT) for c in (0, 1)) / (len(x) - 3)
    densities = []
    for c in range(3):
        n = len(x[y == c])
        own = torch.cov(x[y == c].mT) if n > 1 else 0 * shared
        a1 = (1 - s) * (n - 1) / (n - 1 + prior) if n > 1 else 0.0
        mixed = a1 * own + (1 - s - a1) * shared  # all of the shared one, for one sample
        covariance = mixed + s * mixed.trace() / (1 - s) / 4 * torch.eye(4).double()
        densities.append(MultivariateNormal(x[y == c].mean(0), covariance).log_prob(x))
    ours = learned("qda", x, y, shrinkage=s, prior=prior).logits(x)
    torch.testing.assert_close(gaps(ours), gaps(torch.stack(densities, dim=1)))


def test_qda_with_a_large_prior_is_lda():
    x, y = samples()
    ours, lda = learned("qda", x, y, prior=1e12).logits(x), learned("lda", x, y).logits(x)
    torch.testing.assert_close(gaps(ours), gaps(lda), rtol=1e-6, atol=1e-6)


def hidden(head, x):
    return (x @ head.directions).relu()


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_ranpac_is_a_ridge_regression_of_one_hot_labels(ridge):
    (x, y), (new, _) = samples(), samples(seed=1)
    head = learned("ranpac", x, y, projection=30, ridge=ridge)
    h, one_hot = hidden(head, x), torch.eye(3)[y]
    strength = ridge * h.square().sum() / 30
    theirs = Ridge(alpha=strength.item(), fit_intercept=False).fit(h.numpy(), one_hot.numpy())
    np.testing.assert_allclose(
        head.logits(new).numpy(), theirs.predict(hidden(head, new).numpy()), atol=1e-9
    )


@pytest.mark.parametrize(("n", "projection"), [(120, 30), (30, 90)])
def test_the_ridge_of_ranpac_is_that_of_generalised_cross_validation(n, projection):
    x, y = samples(n)
    head = learned("ranpac", x, y, projection=projection)
    h, one_hot = hidden(head, x), torch.eye(3).double()[y]

    def criterion(ridge):
        strength = ridge * h.square().sum() / projection
        hat = h @ torch.linalg.solve(h.mT @ h + strength * torch.eye(projection), h.mT)
        return n * (one_hot - hat @ one_hot).square().sum() / (n - hat.trace()) ** 2

    best = min((10.0**k for k in range(-6, 3)), key=criterion)
    expected = learned("ranpac", x, y, projection=projection, ridge=best)
    torch.testing.assert_close(head.logits(x), expected.logits(x))


def test_a_moved_ranpac_estimates_what_mapped_features_would_have_given():
    W = torch.tensor([[1.0, 0.5, 0, 0], [-0.5, 1, 0, 0], [0, 0, 2, 0], [0, 0.3, 0, 1]]).double()
    x, y = samples(6000)
    head = learned("ranpac", x, y, projection=30, samples=6000, shrinkage=0.0, prior=0)
    mapped = learned("ranpac", x @ W.mT, y, projection=30)
    head.move(W)
    for key in ("gram", "sums"):
        ours, theirs = getattr(head, key), getattr(mapped, key)
        assert (ours - theirs).norm() <= 0.03 * theirs.norm(), key
    answers = [h.logits(x @ W.mT).argmax(1) for h in (head, mapped)]
    assert (answers[0] == answers[1]).double().mean() >= 0.95


def test_a_ranpac_that_hardly_moves_hardly_changes_whatever_the_features_are():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = torch.randn(4, 8, generator=g).double()[y] + torch.randn(400, 8, generator=g).double() ** 3
    head = learned("ranpac", x, y, classes=4, projection=200)
    before = head.logits(x)
    nearly = torch.eye(8).double() + 1e-6 * torch.randn(8, 8, generator=g).double()
    head.move(nearly)
    assert (head.logits(x) - before).norm() < 1e-3 * before.norm()


def test_another_seed_is_another_projection():
    x, y = samples()
    one, same, other = (learned("ranpac", x, y, projection=30, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.logits(x), same.logits(x))
    assert not torch.equal(one.logits(x), other.logits(x))


def of_their_own_spread(seed, n=4000, classes=20):
    """As many features as classes, which vary each in its own directions."""
    fixed, g = (torch.Generator().manual_seed(s) for s in (5, seed))
    y = torch.arange(n) % classes
    centres = 2 * torch.randn(classes, classes, generator=fixed).double()
    mixes = 0.45 * torch.randn(classes, classes, classes, generator=fixed).double()
    noise = torch.randn(n, 1, classes, generator=g).double() @ mixes[y]
    return centres[y] + noise[:, 0], y


@pytest.mark.parametrize("name", ["aligned", "aligned_cosine", "qda"])
def test_class_covariances_tell_more_than_one_that_is_shared(name):
    (x, y), (new, truth) = of_their_own_spread(0), of_their_own_spread(1)
    wrong = {
        head: (learned(head, x, y, classes=20).logits(new).argmax(1) != truth).double().mean()
        for head in (name, "lda")
    }
    assert wrong[name] < 0.95 * wrong["lda"]


@pytest.mark.parametrize("name", ["aligned", "aligned_cosine"])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_an_aligned_head_is_the_same_for_features_of_any_size(name, factor):
    x, y = samples()
    small = learned(name, x, y, samples=40).logits(x)
    torch.testing.assert_close(learned(name, factor * x, y, samples=40).logits(factor * x), small)


SINGULAR = {  # two samples of a class can't span four dimensions
    "qda": "the covariance of class 0 is singular",
    "aligned": "the covariance of all classes is singular",
    "aligned_cosine": "the covariance of all classes is singular",
}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_a_singular_covariance_is_refused_by_name(name):
    x, y = samples(6)
    head = learned(name, x, y, shrinkage=0.0, prior=0)
    message = r"shrinkage=0.0, prior=0: {}, .*use a shrinkage and a prior above 0"
    if name == "ranpac":  # which needs it for samples only
        assert head.logits(x).isfinite().all()
        kept = head.gram.clone()
        with pytest.raises(ValueError, match=message.format(SINGULAR["qda"])):
            head.move(2 * torch.eye(4))
        assert torch.equal(head.gram, kept)
    else:
        with pytest.raises(ValueError, match=message.format(SINGULAR[name])):
            head.logits(x)


WRONG = [
    *((name, {"shrinkage": value}) for name in GAUSSIAN for value in (-0.1, 1.1, float("nan"))),
    *((name, {"prior": value}) for name in GAUSSIAN for value in (-1, float("inf"), float("nan"))),
    *(("ranpac", {"ridge": value}) for value in (0, -1.0, float("inf"), float("nan"))),
    *(("ranpac", {"projection": value}) for value in (0, 2.5, True)),
    *((name, {"samples": 0}) for name in ("ranpac", "aligned", "aligned_cosine")),
    *(("aligned", {"epochs": value}) for value in (0, 1.5)),
    *(("aligned", {"temperature": value}) for value in (0, float("nan"))),
    ("aligned_cosine", {"scale": 0}),
]


@pytest.mark.parametrize(("name", "options"), WRONG)
def test_an_option_out_of_range_is_refused_by_name(name, options):
    ((option, value),) = options.items()
    with pytest.raises(ValueError, match=f"{option}={value}: must be"):
        create_head(name, 3, 4, **options)
