"""What is saved goes on as if never interrupted, and only in the model that it is about."""

from __future__ import annotations

import copy

import pytest
import torch
from models import OPTIMIZERS, answers, experiences, images, small_vit, tune
from torch import nn

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, pet_parameters
from avl_pegp.projection import PEGP, Protection

OPTIONS = {
    "hard": {},
    "in part": {"protection": Protection(eta=0.5, alpha=1.0)},
    "covariance": {"protection": Protection(memory="covariance")},
    "centred": {"protection": Protection(centred=True, power=2), "energy": 0.95},
    "all of it": {"protection": Protection("covariance", True, 2, 0.5, 1.0), "energy": 0.95},
    "gradients in part": {"protection": Protection(eta=0.5), "project": "gradient"},
    "rebase": {"rebase": True},
}
PETS = (LoRA(8), Adapter(4), Prefix(4), Prompt(4))


def goes_on(model, pegp):
    """Two more experiences, one with a class of before; what tells whether they were the same."""
    torch.manual_seed(7)  # a rebase draws
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    experiences(model, optimizer, pegp, [(1, 2), (2, 3)], steps=4)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return weights, answers(model, images(2, seed=1), 6), str(pegp.ranks()), str(pegp.drift())


@pytest.mark.parametrize("case", OPTIONS)
def test_a_restored_state_goes_on_exactly(protected, tmp_path, case):
    options = {"energy": 1.0, **OPTIONS[case]}
    model, pegp, _, _ = protected(*PETS, **options)
    torch.save([model.state_dict(), pegp.state_dict()], tmp_path / "saved.pt")
    weights, state = torch.load(tmp_path / "saved.pt", weights_only=True)
    twin = small_vit()
    attach(twin, *PETS)
    twin.load_state_dict(weights)
    resumed = PEGP(twin, **options)
    resumed.load_state_dict(state)
    assert resumed.ranks() == pegp.ranks()
    uninterrupted, restored = goes_on(model, pegp), goes_on(twin, resumed)
    assert torch.equal(uninterrupted[0], restored[0])
    assert torch.equal(uninterrupted[1], restored[1])
    assert uninterrupted[2:] == restored[2:]


def test_directions_held_in_part_stay_so_whatever_the_rule_of_who_goes_on(protected):
    model, pegp, _, _ = protected(protection=Protection(eta=0.5))
    twin = copy.deepcopy(model)
    resumed = PEGP(twin, energy=1.0)
    resumed.load_state_dict(pegp.state_dict())
    weights = []
    for m, p in ((model, pegp), (twin, resumed)):
        p.begin({1, 2})
        optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(m))
        tune(m, optimizer, p, images(2, seed=2), torch.tensor([1, 2]), steps=4)
        weights.append(torch.cat([p.detach().flatten() for p in m.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("case", ["hard", "in part"])
def test_a_state_can_be_gone_back_to(protected, case):
    options = {"energy": 1.0, **OPTIONS[case]}
    model, pegp, _, _ = protected(*PETS, **options)
    twin = copy.deepcopy(pegp)
    saved, state = copy.deepcopy(model.state_dict()), pegp.state_dict()
    pegp.begin({1, 2})
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    tune(model, optimizer, pegp, images(2, seed=5), torch.tensor([1, 2]), steps=3)
    pegp.gather([images(2, seed=5)])
    model.load_state_dict(saved)
    pegp.load_state_dict(state)
    with pytest.raises(RuntimeError, match="call begin"):
        pegp.project_step()
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()
    assert torch.equal(goes_on(model, pegp)[0], goes_on(twin.model, twin)[0])


def test_shared_moments_are_stored_once(protected):
    _, pegp, _, _ = protected(LoRA(2, targets=("fc1",)), Adapter(2))
    state = pegp.state_dict()
    assert len(state["moments"]) == len(state["sites"]) - 3


def test_another_backbone_is_refused(protected):
    _, pegp, _, _ = protected()
    other = small_vit(seed=1)
    attach(other, LoRA(4))
    with pytest.raises(
        ValueError, match="frozen weights are not those that features were gathered with"
    ):
        PEGP(other).load_state_dict(pegp.state_dict())


def test_other_pets_are_refused(protected):
    _, pegp, _, _ = protected()
    for other, message in (
        (LoRA(5), "has shape"),
        (LoRA(4, blocks=[0]), "no longer blocks.1.attn.qkv.A"),
    ):
        model = small_vit()
        attach(model, other)
        with pytest.raises(ValueError, match=message):
            PEGP(model).load_state_dict(pegp.state_dict())


def test_fresh_weights_under_old_bases_are_refused(protected):
    _, pegp, _, _ = protected()
    model = small_vit()
    attach(model, LoRA(4))
    fresh = PEGP(model, energy=1.0)
    with pytest.raises(ValueError, match="load the model's weights before the state"):
        fresh.load_state_dict(pegp.state_dict())
    assert fresh.ranks() == {}


def test_a_model_with_more_pets_is_refused(protected):
    _, pegp, _, _ = protected(Prefix(4))
    model = small_vit()
    attach(model, Prefix(4), Prompt(4))
    with pytest.raises(ValueError, match="newly blocks.0.attn.tokens.prompt"):
        PEGP(model).load_state_dict(pegp.state_dict())


def test_a_smaller_head_is_refused(protected):
    model, pegp, _, _ = protected()
    model.head = nn.Linear(64, 3).double()
    with pytest.raises(ValueError, match=r"the classifier head has shape \(3, 65\)"):
        pegp.begin({0, 1})


def test_other_running_statistics_are_another_model():
    def model(mean):
        norm = nn.BatchNorm1d(3, affine=False)
        norm.running_mean.fill_(mean)
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 3), norm).eval()

    first = PEGP(model(0.0))
    first.begin()
    first.gather([torch.randn(4, 3)])
    first.extend()
    with pytest.raises(ValueError, match="frozen weights are not those"):
        PEGP(model(1.0)).load_state_dict(first.state_dict())


@pytest.mark.parametrize("state", [{"weights": 1}, {"format": 1}, {"format": 2}, None])
def test_a_foreign_state_is_refused(protected, state):
    _, pegp, _, _ = protected()
    with pytest.raises(ValueError, match="give what state_dict|incomplete or damaged"):
        pegp.load_state_dict(state)


@pytest.mark.parametrize(
    "edit",
    [
        lambda model: model.blocks[0].mlp.fc1.weight.data.mul_(1.1),
        lambda model: model.float(),
    ],
)
def test_an_edited_backbone_is_refused(protected, edit):
    model, pegp, _, _ = protected()
    edit(model)
    with pytest.raises(ValueError, match="frozen weights are not those that features were"):
        pegp.begin({2, 3})


@pytest.mark.parametrize("layer", ["blocks.1.mlp.fc1", "norm", "head"])
def test_what_becomes_trainable_later_is_refused(layer):
    model = small_vit()
    attach(model, LoRA(4))
    model.head.requires_grad_(False)
    pegp = PEGP(model, energy=1.0, freeze_uncovered=True)
    pegp.begin()
    pegp.gather([images(2, seed=1)])
    pegp.extend()
    pegp.begin()
    pegp.gather([images(2, seed=1)])
    pegp.extend()
    model.get_submodule(layer).requires_grad_(True)
    with pytest.raises(ValueError, match=rf"newly {layer}"):
        pegp.begin()


def test_taking_a_site_away_is_refused(protected):
    model, pegp, _, _ = protected()
    model.blocks[0].attn.qkv.A.requires_grad_(False)
    with pytest.raises(ValueError, match="no longer blocks.0.attn.qkv.A, newly nothing"):
        pegp.begin()
