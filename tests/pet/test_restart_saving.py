"""What rebases left is saved, loaded and merged with the rest."""

from __future__ import annotations

import pytest
import torch
from models import answers, relative_change, small_vit
from pet_files import contents, write
from rebased import X, assert_unchanged, every_case, layers, learn, learned, snapshot
from safetensors.torch import load_file

from avl_pegp.pet import attachment_of, load_pet, save_pet, trainable_tensors

TARGETS = {
    "bare": lambda case: small_vit(),
    "attached": lambda case: learned(case, rebases=0, seed=100),
    "rebased_less": lambda case: learned(case, rebases=1, seed=100),
    "rebased_more": lambda case: learned(case, rebases=3, seed=100),
}
BROKEN = {
    "a_row_that_would_broadcast": (
        "blocks.2.attn.base.qkv.increment",
        lambda tensor: tensor[:1],
        r"blocks.2.attn.base.qkv.increment \(1, 64\): not what rebases leave of LoRALinear\(rank=2",
    ),
    "half_a_branch": (
        "blocks.2.mlp.earlier_up",
        lambda tensor: None,
        r"blocks.2.mlp.earlier_down \(4, 65\): not what .* earlier_down and earlier_up",
    ),
    "other_inner_units": (
        "blocks.2.mlp.earlier_down",
        lambda tensor: tensor[:2],
        r"mlp.earlier_down \(2, 65\), blocks.2.mlp.earlier_up \(64, 5\): not what",
    ),
    "the_other_way_round": (
        "blocks.2.mlp.earlier_down",
        lambda tensor: tensor.mT,
        r"mlp.earlier_down \(65, 4\), blocks.2.mlp.earlier_up \(64, 5\): not what",
    ),
}


@pytest.mark.parametrize("case", ["lora", "lora_kv"])
def test_a_merged_lora_gives_the_same_output_without_it(case):
    model = learned(case)
    before = answers(model, X)
    attachment_of(model).merge()
    assert not layers(model)
    assert relative_change(answers(model, X), before) < 1e-12


@every_case
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rebases", [0, 2])
def test_a_saved_pet_answers_the_same_wherever_it_is_loaded(case, target, rebases, tmp_path):
    model, other = learned(case, rebases), TARGETS[target](case)
    save_pet(model, tmp_path)
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))
    assert attachment_of(other).earlier().keys() == attachment_of(model).earlier().keys()


@every_case
def test_layers_that_never_rebased_have_nothing_to_save(case, tmp_path):
    model = learned(case, rebases=0)
    save_pet(model, tmp_path)
    assert load_file(tmp_path / "pet.safetensors").keys() == trainable_tensors(model).keys()


def test_layers_may_have_rebased_at_different_times(tmp_path):
    model, other = learned("together", rebases=0), small_vit()
    model.blocks[0].mlp.rebase(lambda matrix: matrix)
    learn(model, seed=1)
    save_pet(model, tmp_path)
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, X), answers(model, X))


def test_another_dtype_is_cast(tmp_path):
    save_pet(learned("together"), tmp_path)
    other = small_vit(torch.float32)
    load_pet(other, tmp_path)
    assert {tensor.dtype for tensor in other.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("target", TARGETS)
def test_what_does_not_fit_is_refused_and_changes_nothing(broken, target, tmp_path):
    name, change, message = BROKEN[broken]
    save_pet(learned("together"), tmp_path)
    tensors, metadata = contents(tmp_path)
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed
    write(tmp_path, tensors, metadata)
    model = TARGETS[target]("together")
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        load_pet(model, tmp_path)
    assert_unchanged(model, before)


def test_what_no_layer_could_have_left_is_refused(tmp_path):
    save_pet(learned("together"), tmp_path)
    tensors, metadata = contents(tmp_path)
    name = "blocks.1.attn.base.qkv.increment"  # a block without a LoRA
    write(tmp_path, {**tensors, name: torch.zeros(192, 64)}, metadata)
    model = learned("together", rebases=1)
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"Not in the model: \['{name}'\]"):
        load_pet(model, tmp_path)
    assert_unchanged(model, before)


@pytest.mark.parametrize("rebases", [0, 1, 3])
@every_case
def test_torchs_own_state_dict_carries_it_too(case, rebases):
    model, other = learned(case), learned(case, rebases)
    other.load_state_dict(model.state_dict())
    y = answers(model, X)
    assert torch.equal(answers(other, X), y)
    for tensor in attachment_of(other).earlier().values():
        tensor.zero_()  # a copy: the first model does not notice
    assert torch.equal(answers(model, X), y)


def test_a_state_dict_of_the_head_alone_leaves_it():
    model = learned("together")
    before = attachment_of(model).earlier()
    head = {name: t for name, t in model.state_dict().items() if name.startswith("head")}
    model.load_state_dict(head, strict=False)
    assert attachment_of(model).earlier().keys() == before.keys()
