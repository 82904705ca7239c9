"""Steps in floating point: what they cannot keep is said, and what is no number is refused."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from models import OPTIMIZERS, PETS, images, relative_change, small_vit, tune
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, pet_parameters, trainable_tensors
from avl_pegp.projection import PEGP, Protection, RoundingWarning

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def protected_vit(pet, dtype, spread=1.0):
    """A model after one experience, and the old inputs; learned tokens begin with this spread."""
    model, old = small_vit(dtype), images(2, seed=1, dtype=dtype)
    attach(model, pet)
    for name, p in trainable_tensors(model).items():
        if "tokens" in name:
            nn.init.normal_(p, std=spread)
    pegp = PEGP(model, energy=1.0)
    pegp.begin({0, 1})
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    pegp.gather([old])
    pegp.extend()
    pegp.begin({2, 3})
    return model.eval(), pegp, old


@torch.no_grad()
def move(pegp, times, seed=0):
    """Let every weight make a free move so many times its size."""
    g, tensors = torch.Generator().manual_seed(seed), pegp.coverage.tensors()
    for name, memory in pegp.memory.sites.items():
        site = pegp.coverage.sites[name]
        weight = site.read(tensors)
        free = memory.project(torch.randn(weight.shape, generator=g, dtype=torch.float64))
        if free.norm() > 1e-6:
            site.write(weight + times * memory.reference.norm() / free.norm() * free, tensors)


@pytest.mark.parametrize("times", [1, 3, 10, 30, 100, 1000])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("pet", PETS)
def test_no_long_step_changes_old_features_without_a_word(pet, dtype, times):
    model, pegp, old = protected_vit(PETS[pet], dtype)
    before = model.forward_features(old).detach()
    move(pegp, times)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pegp.project_step()
        pegp.project_step()
    change = relative_change(model.forward_features(old), before)
    assert change <= TOLERANCE[dtype] or said
    assert not said or times > 3  # steps of the weights' own size are no matter
    if said:  # once
        (warning,) = said
        assert warning.category is RoundingWarning
        assert any(f"{site} has moved " in str(warning.message) for site in pegp.ranks())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("pet", PETS)
def test_moves_of_the_weights_own_size_cost_rounding_alone(pet, dtype):
    model, pegp, old = protected_vit(PETS[pet], dtype)
    before = model.forward_features(old).detach()
    move(pegp, 1)
    pegp.project_step()
    change = relative_change(model.forward_features(old), before)
    assert change <= {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("pet", ["lora", "prefix"])
def test_moves_of_a_hundred_times_that_cost_more_though_no_site_sees_it(pet, dtype):
    model, pegp, old = protected_vit(PETS[pet], dtype)
    before = model.forward_features(old).detach()
    move(pegp, 100)
    with pytest.warns(RoundingWarning):
        pegp.project_step()
    assert relative_change(model.forward_features(old), before) > TOLERANCE[dtype]
    assert max(pegp.drift().values()) <= TOLERANCE[dtype] ** 2


def test_a_line_search_that_diverges_is_told_of():
    model, pegp, old = protected_vit(PETS["prefix"], torch.float64, spread=0.02)
    before = model.forward_features(old).detach()
    new, y = images(8, seed=2), torch.tensor([2, 3] * 4)
    optimizer = torch.optim.LBFGS([p for p in model.parameters() if p.requires_grad], max_iter=5)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(new), y)
        loss.backward()
        pegp.project_gradients()
        return loss

    with pytest.warns(
        RoundingWarning, match=r"times as far as its weight is large.*Lower the learn"
    ):
        for _ in range(10):
            optimizer.step(closure)
            pegp.project_step()
            if relative_change(model.forward_features(old), before) > 1e-9:
                break
    assert relative_change(model.forward_features(old), before) > 1e-9


def test_a_lora_that_starts_at_zero_may_grow():
    """References count before any training, so that B is zero when its bases first grow."""
    model = small_vit()
    attach(model, LoRA(4))
    pegp = PEGP(model, energy=1.0)
    pegp.gather([images(2, seed=0)])
    pegp.extend()
    for t in range(2):
        pegp.begin({0, 1})
        optimizer = torch.optim.AdamW(pet_parameters(model), lr=1e-2)
        tune(model, optimizer, pegp, images(4, seed=t + 1), torch.tensor([0, 1, 0, 1]), steps=40)
        pegp.gather([images(4, seed=t + 1)])
        pegp.extend()


@pytest.mark.parametrize("options", [{"energy": 1.0}, {"protection": Protection(eta=0.5)}])
@pytest.mark.parametrize("project", ["step", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layer", ["blocks.1.attn.qkv.A", "head"])
def test_a_step_that_is_no_number_is_refused_by_name_and_nothing_is_written(
    protected, layer, value, project, options
):
    model, pegp, _, _ = protected(LoRA(4), project=project, **options)
    pegp.begin({2, 3})
    pegp.project_step()
    with torch.no_grad():
        model.get_submodule(layer).weight[2, 0] = value
        model.blocks[0].attn.qkv.A.weight.add_(1.0)
    weights = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=rf"NaN or infinite weights in {layer}: .*Go back to weights"
    ):
        pegp.project_step()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=0, equal_nan=True)


def test_the_meter_is_never_negative_and_never_hides_what_is_no_number(protected):
    model, pegp, _, old = protected(LoRA(8), Adapter(4), Prefix(4), Prompt(4))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        with torch.no_grad():
            for p in pegp.coverage.trained.values():
                p.mul_(1 + 1e-16 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        pegp.begin({0, 1})
        assert all(value >= 0 for value in pegp.drift().values())
        pegp.gather([old])
        pegp.extend()
    with torch.no_grad():
        pegp.coverage.trained["blocks.1.mlp.down.weight"][0, 0] = math.nan
    assert math.isnan(pegp.drift()["blocks.1.mlp.down"])
