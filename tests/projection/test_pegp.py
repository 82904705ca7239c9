"""The object for any loop: edits by other hands, and errors that leave all as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from models import OPTIMIZERS, answers, images, relative_change, small_vit, tune
from torch import nn

from avl_pegp.pet import LoRA, Prefix, attach, pet_parameters
from avl_pegp.projection import PEGP


def test_edits_between_experiences_are_projected_when_the_next_begins(protected):
    model, pegp, _, old = protected(LoRA(16), Prefix(30))
    before = model.forward_features(old)
    with torch.no_grad():
        for p in pegp.coverage.trained.values():
            p.add_(torch.randn_like(p))
    assert relative_change(model.forward_features(old), before) > 1e-2
    pegp.begin({2, 3})
    assert relative_change(model.forward_features(old), before) <= 1e-9


@pytest.mark.parametrize("call", ["gather", "extend"])
def test_edits_before_statistics_are_gathered_are_projected_too(protected, call):
    model, pegp, optimizer, old = protected(LoRA(16))
    new = images(2, seed=2)
    before = model.forward_features(old)
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, new, torch.tensor([2, 3]), steps=3)
    if call == "extend":
        pegp.gather([new])
    with torch.no_grad():
        for p in pegp.coverage.trained.values():
            p.mul_(0.9)
    if call == "gather":
        pegp.gather([new])
    pegp.extend()
    assert relative_change(model.forward_features(old), before) <= 1e-9


def test_what_is_frozen_later_stays_as_it_is():
    model = small_vit()
    attach(model, LoRA(16))
    model.norm.requires_grad_(True)
    pegp, old = PEGP(model, energy=1.0, freeze_uncovered=True), images(2, seed=1)
    pegp.begin({0, 1})
    pegp.gather([old])
    pegp.extend()
    model.norm.requires_grad_(False)
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    before = answers(model, old, 2)
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 3]), steps=5)
    assert relative_change(answers(model, old, 2), before) <= 1e-9


def test_a_deep_copy_goes_its_own_way(protected):
    model, pegp, _, old = protected()
    weights = copy.deepcopy(model.state_dict())
    twin = copy.deepcopy(pegp)
    assert twin.model is not model
    before = answers(twin.model, old, 2)
    twin.begin({2, 3})
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(twin.model))
    tune(twin.model, optimizer, twin, images(2, 2), torch.tensor([2, 3]), steps=20)
    assert relative_change(answers(twin.model, old, 2), before) <= 1e-9
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())


def test_training_without_begin_is_refused_also_after_extend(protected):
    model, pegp, _, _ = protected()
    for call in (pegp.project_gradients, pegp.project_step):
        with pytest.raises(RuntimeError, match="call begin"):
            call()


def test_unknown_projections_are_refused():
    with pytest.raises(ValueError, match="project='both': must be one of step, gradient, none"):
        PEGP(nn.Identity(), project="both")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_name_their_site_and_change_nothing(protected, value):
    model, pegp, _, old = protected()
    ranks, weights = pegp.ranks(), copy.deepcopy(model.state_dict())
    bad = old.clone()
    bad[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"site blocks.0.attn.qkv.A received NaN or infinite"):
        pegp.gather([old, bad])
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()
    assert pegp.ranks() == ranks
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())


def test_an_empty_loader_is_refused(protected):
    model, pegp, _, _ = protected()
    with pytest.raises(ValueError, match="no batch"):
        pegp.gather([])


def test_a_layer_that_is_read_but_never_called_is_refused_by_name():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.attention.in_proj_weight.requires_grad_(False)
            self.attention.in_proj_bias.requires_grad_(False)
            self.out = nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.attention(x, x, x)[0])

    pegp = PEGP(Attends())
    pegp.begin()
    with pytest.raises(ValueError, match="never called attention.out_proj"):
        pegp.gather([torch.randn(2, 3, 4)])
