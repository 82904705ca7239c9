"""What is trained, and how an optimizer is told."""

from __future__ import annotations

import pytest
from models import small_vit

from avl_pegp.pet import LoRA, attach, pet_parameters, trainable_tensors


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
