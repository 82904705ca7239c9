from __future__ import annotations

import json

import pytest
import torch
from models import images, small_vit
from pet_files import as_earlier_versions_wrote, contents, write

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, attachment_of, load_pet, save_pet
from avl_pegp.pet import trainable_tensors as trainable

CONFIGS = (LoRA(2, blocks=[0, 2]), Adapter(2), Prefix(2), Prompt(2))


def tuned(*pets):
    model = small_vit()
    attach(model, *pets)
    for p in trainable(model).values():
        torch.nn.init.normal_(p)
    return model


def assert_taken_over(model, other, folder):
    """What is saved of one model and loaded into the other answers as the first."""
    save_pet(model, folder)
    load_pet(other, folder)
    assert torch.equal(other(images(1, seed=0)), model(images(1, seed=0)))


def test_a_saved_pet_answers_the_same_on_a_bare_model(tmp_path):
    model, x = tuned(*CONFIGS), images(2, seed=0)
    save_pet(model, tmp_path / "pet")
    other = small_vit()
    load_pet(other, tmp_path / "pet")
    assert torch.equal(other(x), model(x))
    assert attachment_of(other).pets == CONFIGS


def test_only_pets_and_classifier_are_saved_in_one_file(tmp_path):
    model = tuned(LoRA(2))
    save_pet(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pet.safetensors"]
    tensors, _ = contents(tmp_path)
    assert tensors.keys() == trainable(model).keys()


def test_what_was_frozen_since_is_saved_too(tmp_path):
    model, other = tuned(LoRA(2)), small_vit()
    model.requires_grad_(False)
    assert_taken_over(model, other, tmp_path)


def test_loading_into_the_same_pets_replaces_their_weights(tmp_path):
    model, other = tuned(LoRA(2)), tuned(LoRA(2))
    assert_taken_over(model, other, tmp_path)


def test_another_class_count_is_refused_and_leaves_the_model_bare(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    other = small_vit(num_classes=7)
    with pytest.raises(ValueError, match=r"head.weight: \(6, 64\) in the file, \(7, 64\)"):
        load_pet(other, tmp_path)
    assert attachment_of(other) is None
    assert all(p.requires_grad for p in other.parameters())


def test_keys_must_match_exactly(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    tensors, metadata = contents(tmp_path)
    tensors["stray"] = tensors.pop("head.bias")
    write(tmp_path, tensors, metadata)
    with pytest.raises(ValueError, match=r"Missing.*\['head.bias'\].*Not in.*\['stray'\]"):
        load_pet(small_vit(), tmp_path)


def test_other_pets_on_the_model_are_refused(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    with pytest.raises(ValueError, match="rank=3.*holds.*rank=2"):
        load_pet(tuned(LoRA(3)), tmp_path)


def test_a_model_without_pets_has_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="no PETs to save"):
        save_pet(small_vit(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"pets": [{"kind": "DoRA"}]})])
def test_a_foreign_configuration_is_refused(tmp_path, content):
    save_pet(tuned(LoRA(2)), tmp_path)
    as_earlier_versions_wrote(tmp_path)
    (tmp_path / "pet.json").write_text(content)
    with pytest.raises(ValueError, match="not a PET configuration"):
        load_pet(small_vit(), tmp_path)


def test_a_truncated_file_is_refused(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    path = tmp_path / "pet.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_pet(small_vit(), tmp_path)


def test_a_missing_file_is_named(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    (tmp_path / "pet.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="pet.safetensors is missing"):
        load_pet(small_vit(), tmp_path)


def test_tensors_that_layers_of_the_classifier_share_are_saved(tmp_path):
    model, other = tuned(LoRA(2)), tuned(LoRA(2))
    for vit in (model, other):
        width = vit.head.in_features
        vit.head = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(2))).double()
        vit.head[1].weight = vit.head[0].weight
    assert_taken_over(model, other, tmp_path)


def test_a_refused_file_leaves_the_gradients(tmp_path):
    save_pet(tuned(LoRA(2)), tmp_path)
    other = small_vit(num_classes=7)
    for parameter in other.parameters():
        parameter.grad = torch.ones_like(parameter)
    with pytest.raises(ValueError, match="does not fit"):
        load_pet(other, tmp_path)
    assert all(parameter.grad is not None for parameter in other.parameters())
