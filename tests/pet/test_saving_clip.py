"""Saving, loading and copying a CLIP's PETs, with contexts that were settled."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from clip_forms import ALL, FORMS, PETS, answers, equal, stirred
from clips import small_clip
from pet_files import contents, write
from safetensors.torch import load_file

from avl_pegp.pet import Context, LoRA, attach, attachment_of, load_pet, save_pet, trainable_tensors

BESIDE = (Context(3), LoRA(2, targets=ALL, tower="text"))


def settled(times, pets=BESIDE):
    """A model whose first classes have a settled context each."""
    model = small_clip()
    attach(model, *pets)
    for c in range(times):
        stirred(model).settle_context([c])
    return stirred(model)


def by_file(model, other, folder):
    save_pet(model, folder)
    load_pet(other, folder)


def by_state(model, other, folder):
    other.load_state_dict(model.state_dict())


@pytest.mark.parametrize("pets", PETS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.long
def test_a_saved_pet_answers_the_same_on_a_bare_model(form, pets, tmp_path):
    model, other = FORMS[form](), FORMS[form]()
    attach(model, *PETS[pets])
    by_file(stirred(model), other, tmp_path)
    assert attachment_of(other).pets == PETS[pets]
    torch.testing.assert_close(answers(other), answers(model), rtol=0, atol=1e-12)
    tensors = load_file(tmp_path / "pet.safetensors")
    assert tensors.keys() == trainable_tensors(model).keys()


@pytest.mark.parametrize("way", [by_file, by_state])
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("times", [1, 2])
def test_settled_contexts_come_along(way, before, times, tmp_path):
    model, other = settled(times), settled(before)
    answers(other)  # keeps features that must not outlive the loading
    way(model, other, tmp_path)
    assert equal(answers(other), answers(model))
    other.settle_context([4])
    assert torch.equal(
        other.clip.token_embedding.settled[:times], model.clip.token_embedding.settled
    )


def test_a_file_without_settled_contexts_takes_them_off(tmp_path):
    model, other = settled(0), settled(2)
    by_file(model, other, tmp_path)
    assert equal(answers(other), answers(model))
    assert attachment_of(other).earlier() == {}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_settled_contexts_of_their_own(copied):
    model = settled(2)
    other, before = copied(model), answers(model)
    assert equal(answers(other), before)
    stirred(other).settle_context([2])
    assert equal(answers(model), before)
    assert not equal(answers(other), before)


BROKEN = {
    "owners missing": ("owners", None),
    "settled missing": ("settled", None),
    "another width": ("settled", lambda t: t[..., :5]),
    "fewer contexts than owners name": ("settled", lambda t: t[:1]),
    "owners in a table": ("owners", lambda t: t[None]),
    "owners that are fractions": ("owners", lambda t: t.double()),
    "no owner": ("owners", lambda t: t[:0]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_settled_contexts_that_do_not_fit_are_refused_and_change_nothing(case, tmp_path):
    name, change = BROKEN[case]
    save_pet(settled(2), tmp_path)
    tensors, metadata = contents(tmp_path)
    tensor = tensors.pop(f"clip.token_embedding.{name}")
    if change:
        tensors[f"clip.token_embedding.{name}"] = change(tensor)
    write(tmp_path, tensors, metadata)
    other = settled(1)
    before = answers(other)
    with pytest.raises(ValueError, match=r"must be settled \(K, 3, 48\) and owners; load"):
        load_pet(other, tmp_path)
    assert equal(answers(other), before)
