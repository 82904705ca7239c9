"""What is trained, and how an optimizer is told."""

from __future__ import annotations

import peft
import pytest
import torch
from models import small_vit
from torch import nn

from avl_pegp.pet import LoRA, attach, pet_parameters, trainable_tensors
from avl_pegp.pet.trainable import freeze


def test_only_the_pets_and_the_classifier_are_trained():
    model = small_vit()
    attach(model, LoRA(2, blocks=[1]))
    assert set(trainable_tensors(model)) == {
        "blocks.1.attn.qkv.A.weight",
        "blocks.1.attn.qkv.B.weight",
        "head.weight",
        "head.bias",
    }


def test_parameter_groups_hold_every_tensor_once():
    model = small_vit()
    attach(model, LoRA(2))
    (group,) = pet_parameters(model)
    assert len(group["params"]) == len(trainable_tensors(model))
    groups = pet_parameters(model, head_lr=0.1)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert groups[1]["lr"] == 0.1


def test_a_model_without_pets_has_no_groups():
    with pytest.raises(ValueError, match="no trainable PET"):
        pet_parameters(small_vit().requires_grad_(False))


WRAPPERS = {
    "data_parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "in sequence": lambda model: nn.Sequential(nn.Identity(), model),
    "twice": lambda model: nn.DataParallel(nn.Sequential(model)),
}


def tensors(groups):
    return [[id(p) for p in group["params"]] for group in groups]


@pytest.mark.parametrize("head_lr", [None, 0.1])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_has_the_groups_of_the_model_inside(name, head_lr):
    model = small_vit()
    attach(model, LoRA(2))
    wrapped = WRAPPERS[name](model)
    assert tensors(pet_parameters(wrapped, head_lr)) == tensors(pet_parameters(model, head_lr))


class OwnHead(nn.Module):
    """A model around a backbone with PETs, and a head that nothing names."""

    def __init__(self):
        super().__init__()
        self.backbone = small_vit(num_classes=0)
        attach(self.backbone, LoRA(2))
        self.fc = nn.Linear(64, 6).double()


def test_pets_inside_a_larger_model_are_trained_with_all_that_is_not_frozen():
    model = OwnHead()
    (group,) = pet_parameters(model)
    assert {id(p) for p in group["params"]} == {id(p) for p in trainable_tensors(model).values()}
    with pytest.raises(TypeError, match=r"head_lr=0.1, but OwnHead has no get_classifier\(\)"):
        pet_parameters(model, head_lr=0.1)


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel])
def test_a_model_of_peft_has_groups_too(wrap):
    config = peft.LoraConfig(r=2, target_modules=["qkv"], modules_to_save=["head"])
    model = peft.get_peft_model(small_vit(), config)
    (group,) = pet_parameters(wrap(model))
    assert {id(p) for p in group["params"]} == {id(p) for p in trainable_tensors(model).values()}
    pets, heads, _ = pet_parameters(wrap(model), head_lr=0.1)
    assert len(pets["params"]) == 2 * 3
    assert [tuple(p.shape) for p in heads["params"]] == [(6, 64), (6,)]


def test_a_rate_for_a_frozen_classifier_is_refused():
    model = peft.get_peft_model(small_vit(), peft.LoraConfig(r=2, target_modules=["qkv"]))
    assert len(pet_parameters(model)[0]["params"]) == 2 * 3
    with pytest.raises(ValueError, match="head_lr=0.1, but the classifier is frozen"):
        pet_parameters(model, head_lr=0.1)


@pytest.mark.parametrize("wrap", [lambda model: model, *WRAPPERS.values()])
def test_a_model_that_nothing_was_attached_to_is_refused(wrap):
    with pytest.raises(ValueError, match="VisionTransformer has no trainable PET: call attach"):
        pet_parameters(wrap(small_vit()))


def test_a_model_whose_pets_are_off_again_is_refused():
    model = small_vit()
    attach(model, LoRA(2)).detach()
    with pytest.raises(ValueError, match="has no trainable PET"):
        pet_parameters(model)


def test_freezing_takes_gradients_too():
    layer = nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    freeze([layer.bias])
    assert layer.bias.grad is None
    assert not layer.bias.requires_grad
    assert layer.weight.grad is not None
