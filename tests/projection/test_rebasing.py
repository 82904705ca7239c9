"""Rebase: what the two maps of a fresh branch are held to, and when there can be none."""

from __future__ import annotations

import math

import pytest
import torch
from models import images, small_vit, tune
from torch import nn

from avl_pegp.pet import Adapter, LoRA, Prefix, attach
from avl_pegp.projection import PEGP, Protection

PETS = (LoRA(3, targets=("qkv", "proj", "fc1", "fc2")), Adapter(4))


def sides(pegp, *names):
    return {n: r for n, r in pegp.ranks().items() if n.rsplit(".", 1)[1] in names}


@pytest.mark.parametrize("memory", ["union", "covariance"])
@pytest.mark.parametrize("centred", [False, True])
def test_the_second_map_is_free_but_for_its_bias_after_every_experience(protected, memory, centred):
    protection = Protection(memory=memory, centred=centred)
    plain = protected(*PETS, protection=protection)[1]
    model, pegp, optimizer, _ = protected(*PETS, protection=protection, rebase=True)
    first = sides(pegp, "A", "down")
    assert first == sides(plain, "A", "down")
    for t in range(2):
        assert set(sides(pegp, "B").values()) == {(0, 3)}
        assert set(sides(pegp, "up").values()) == {(1, 5)}
        assert all(rank > 1 for rank, _ in sides(plain, "B", "up").values())
        x = images(2, seed=5 + t)
        pegp.begin({2, 3})
        tune(model, optimizer, pegp, x, torch.tensor([2, 3]), steps=3)
        pegp.gather([x])
        pegp.extend()
    assert all(rank > first[name][0] for name, (rank, _) in sides(pegp, "A", "down").items())


def test_fresh_maps_follow_the_seed_and_take_nothing_from_the_generator_of_others(protected):
    def rebased(seed):
        model, pegp, _, old = protected(*PETS, rebase=True)
        torch.manual_seed(seed)
        pegp.begin({2, 3})
        pegp.gather([old])
        pegp.extend()
        names = (name for name, _ in model.named_parameters() if name.endswith("A.weight"))
        return [model.get_parameter(name).detach() for name in names], torch.rand(3)

    (maps, drawn), (same, _), (others, _) = rebased(1), rebased(1), rebased(2)
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, torch.rand(3))
    torch.testing.assert_close(maps, same)
    assert not any(torch.allclose(a, b) for a, b in zip(maps, others, strict=True))


def test_the_meter_has_nothing_to_measure_on_a_branch_that_gave_zero(protected):
    model, pegp, optimizer, _ = protected(*PETS, rebase=True)
    assert all(math.isnan(drift) for drift in pegp.drift().values())
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, images(4, seed=2), torch.tensor([2, 3, 2, 3]), steps=3)
    assert len(pegp.drift()) == 30
    assert all(math.isnan(drift) for drift in pegp.drift().values())


@pytest.mark.parametrize(
    "options",
    [
        {"project": "gradient"},
        {"project": "none"},
        {"protection": Protection(eta=0.9)},
        {"protection": Protection(alpha=10)},
    ],
)
def test_it_is_refused_where_steps_are_not_projected_fully(options):
    with pytest.raises(ValueError, match="rebase=True with project=.*use project='step'"):
        PEGP(nn.Identity(), rebase=True, **options)


@pytest.mark.parametrize(
    ("pet", "exclude"), [(Prefix(4), ()), (LoRA(2), "*.B.weight"), (LoRA(2), "*.A.weight")]
)
def test_a_model_in_which_nothing_can_start_anew_is_refused(pet, exclude):
    model = small_vit()
    attach(model, pet)
    with pytest.raises(ValueError, match="rebase=True, but the model has no LoRA or Adapter"):
        PEGP(model, rebase=True, exclude=exclude).begin()


def test_an_edited_backbone_is_refused_before_any_branch_starts_anew(protected):
    model, pegp, _, old = protected(rebase=True)
    pegp.begin({2, 3})
    pegp.gather([old])
    model.blocks[1].mlp.fc1.weight.data.mul_(1.1)
    layer = model.blocks[0].attn.qkv
    increment, A = layer.increment.clone(), layer.A.weight.clone()
    with pytest.raises(ValueError, match="frozen weights are not those"):
        pegp.extend()
    assert torch.equal(layer.increment, increment)
    assert torch.equal(layer.A.weight, A)
