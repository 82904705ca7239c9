"""Soft protections: a share is taken from every step, once, as a loop by hand takes it."""

from __future__ import annotations

import pytest
import torch
from models import relative_change, tune
from torch import nn
from torch.nn import functional as F

from avl_pegp.projection import PEGP, Protection

ETA = 0.7
OPTIMIZERS = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.3),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1),
}
X, Y = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double(), torch.arange(6) % 3
OLD = torch.randn(2, 6, generator=torch.Generator().manual_seed(2)).double()


def site_and_classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def gather_and_extend(pegp):
    pegp.gather([OLD])
    pegp.extend()


def second_experience(**options):
    """A model that has begun its second experience, in which all classes recur, and its PEGP."""
    model = site_and_classifier()
    options = {"energy": 1.0, "protection": Protection(eta=ETA), **options}
    pegp = PEGP(model, classifier="2", **options)
    pegp.begin()
    gather_and_extend(pegp)
    pegp.begin()
    return model, pegp


def matrix(layer):
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach()


def write(layer, matrix):
    with torch.no_grad():
        layer.weight.copy_(matrix[:, :-1])
        layer.bias.copy_(matrix[:, -1])


def mix(x):
    """NSP²'s η P + (1 − η) I, with P the projection onto what the rows [x, 1] leave free."""
    rows = torch.cat([x, x.new_ones(len(x), 1)], dim=1).detach()
    eye = torch.eye(rows.shape[1], dtype=rows.dtype)
    P = eye - torch.linalg.pinv(rows) @ rows
    return ETA * P + (1 - ETA) * eye


def tune_by_hand(model, optimizer, project, steps):
    site, _, head = model
    site_mix, head_mix = mix(OLD), mix(model[:2](OLD))
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        if project == "gradient":
            gradient = torch.cat([site.weight.grad, site.bias.grad[:, None]], dim=1) @ site_mix
            site.weight.grad, site.bias.grad = gradient[:, :-1], gradient[:, -1]
        before_site, before_head = matrix(site), matrix(head)
        optimizer.step()
        if project == "step":
            write(site, before_site + (matrix(site) - before_site) @ site_mix)
        write(head, before_head + (matrix(head) - before_head) @ head_mix)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("project", ["step", "gradient"])
def test_every_step_loses_its_share_once(project, optimizer):
    model, pegp = second_experience(project=project)
    twin, start = site_and_classifier(), matrix(model[0])
    tune(model, OPTIMIZERS[optimizer](model), pegp, X, Y, steps=4)
    tune_by_hand(twin, OPTIMIZERS[optimizer](twin), project, steps=4)
    for layer, other in zip(model[::2], twin[::2], strict=True):
        torch.testing.assert_close(matrix(layer), matrix(other), rtol=0, atol=1e-12)
    assert relative_change(matrix(model[0]), start) > 1e-2


ONE_HELD_IN_PART = {  # of a site with a single direction, the largest, all is held
    "site and classifier": {},
    "site": {"protection": Protection(alpha=1), "energy": {"2": 0.01, "*": 1.0}},
    "classifier": {"protection": Protection(alpha=1), "energy": {"0": 0.01, "*": 1.0}},
}


@pytest.mark.parametrize("case", ONE_HELD_IN_PART)
def test_without_a_step_in_between_nothing_more_is_lost(case):
    model, pegp = second_experience(**ONE_HELD_IN_PART[case])
    tune(model, OPTIMIZERS["sgd"](model), pegp, X, Y, steps=2)
    weights = [matrix(layer) for layer in model[::2]]
    pegp.project_step()
    pegp.begin([0, 1, 2])
    gather_and_extend(pegp)
    for layer, before in zip(model[::2], weights, strict=True):
        torch.testing.assert_close(matrix(layer), before, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("mid_experience", [False, True])
def test_edits_by_others_lose_the_share_once_too(mid_experience, layer):
    model, pegp = second_experience()
    if not mid_experience:
        gather_and_extend(pegp)
    features = OLD if layer == 0 else model[:2](OLD)
    start = matrix(model[layer])
    edit = torch.randn(start.shape, generator=torch.Generator().manual_seed(3)).double()
    write(model[layer], start + edit)
    if mid_experience:
        pegp.project_step()
    else:
        pegp.begin()
    expected = start + edit @ mix(features)
    torch.testing.assert_close(matrix(model[layer]), expected, rtol=0, atol=1e-12)


def test_importance_that_has_grown_to_one_holds_like_a_projection():
    model = site_and_classifier()
    pegp = PEGP(model, energy=1.0, protection=Protection(alpha=5))
    pegp.begin()
    pegp.gather([OLD[:1]])
    pegp.extend()  # one row has one direction: the largest, held fully
    before = model(OLD[:1]).detach()
    pegp.begin()
    tune(model, OPTIMIZERS["adamw"](model), pegp, X, Y, steps=20)
    assert relative_change(model(OLD[:1]), before) <= 1e-12


def test_a_classifier_may_grow_between_experiences():
    model, pegp = second_experience()
    gather_and_extend(pegp)
    rows, wider = matrix(model[2]), nn.Linear(4, 5).double()
    write(wider, torch.cat([rows, matrix(wider)[3:]]))
    model[2] = wider
    pegp.begin({1, 3, 4})
    tune(model, OPTIMIZERS["sgd"](model), pegp, X, Y + 2, steps=2)
    assert torch.equal(matrix(wider)[[0, 2]], rows[[0, 2]])
    assert not torch.allclose(matrix(wider)[1], rows[1])
