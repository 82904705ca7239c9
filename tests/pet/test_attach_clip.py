"""Invariants of every PET on both towers of a CLIP: from attaching to detaching without a trace."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from clip_forms import (
    ALL,
    FORMS,
    IMAGES,
    PETS,
    SILENT,
    answers,
    assert_same_state,
    equal,
    state,
    stirred,
)
from clips import small_clip

from avl_pegp.pet import LoRA, attach, attachment_of, trainable_tensors

every_form = pytest.mark.parametrize("form", FORMS)
every_pet = pytest.mark.parametrize("pets", PETS)


@every_pet
@every_form
def test_a_pet_attaches_trains_and_detaches_without_a_trace(form, pets):
    model = FORMS[form]()
    before, then = state(model), answers(model)
    with attach(model, *PETS[pets]):
        if pets in SILENT:
            torch.testing.assert_close(answers(model), then, rtol=0, atol=1e-12)
        model.train()(IMAGES).square().sum().backward()
        assert all(p.grad is not None for p in trainable_tensors(model).values())
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        assert not equal(answers(stirred(model).eval()), then)
    assert_same_state(state(model), before)
    assert equal(answers(model), then)


@every_pet
@pytest.mark.parametrize("mode", [True, False])
def test_disabled_is_the_model_without_its_pets_and_nothing_else(pets, mode):
    model = small_clip().train(mode)
    untuned = answers(small_clip().requires_grad_(False))  # torch's kernels differ by that
    handle = attach(model, *PETS[pets])
    stirred(model).eval()
    before, tuned = state(model), answers(model)
    with handle.disabled() as inside:
        assert inside is model
        assert equal(answers(model), untuned)
    assert_same_state(state(model), before)
    assert equal(answers(model), tuned)


def test_the_pets_are_back_also_after_an_error_and_disabled_blocks_do_not_nest():
    model = stirred(small_clip())
    handle = attach(model, *PETS["everything"])
    before = state(model)
    with pytest.raises(ZeroDivisionError), handle.disabled():
        raise ZeroDivisionError
    with handle.disabled():
        for call in (lambda: handle.disabled().__enter__(), handle.detach, handle.merge):
            with pytest.raises(RuntimeError, match=r"(out of order|merge\(\) with)"):
                call()
    assert_same_state(state(model), before)
    handle.detach()
    with pytest.raises(RuntimeError, match=r"disabled\(\) after the PETs were detached"):
        handle.disabled().__enter__()


@every_form
def test_merged_loras_of_both_towers_leave_the_answers_as_they_were(form):
    model, bare = FORMS[form](), FORMS[form]()
    attach(model, LoRA(3, targets=ALL), LoRA(2, targets=("q", "v"), tower="text"))
    tuned = answers(stirred(model))
    attachment_of(model).merge()
    torch.testing.assert_close(answers(model), tuned, rtol=0, atol=1e-12)
    assert [type(m) for m in model.modules()] == [type(m) for m in bare.modules()]
    assert not torch.allclose(answers(model)[0], answers(bare)[0])


@every_pet
def test_gradient_checkpointing_changes_neither_answers_nor_gradients(pets):
    model = small_clip()
    attach(model, *PETS[pets])
    stirred(model).train()
    both = []
    for checkpointed in (False, True):
        model.clip.set_grad_checkpointing(checkpointed)
        logits = model(IMAGES)
        trained = list(trainable_tensors(model).values())
        both.append((logits, *torch.autograd.grad(logits.square().sum(), trained)))
    torch.testing.assert_close(both[1], both[0])


@every_form
def test_a_deep_copy_and_a_pickle_are_models_of_their_own(form):
    model = FORMS[form]()
    attach(model, *PETS["everything"])
    before = answers(stirred(model))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(answers(other), before)
        stirred(other)
        assert equal(answers(model), before)
        attachment_of(other).detach()
        assert equal(answers(other), answers(FORMS[form]()))


def test_pets_follow_the_models_dtype_before_and_after():
    model = small_clip(torch.float32)
    attach(model, *PETS["everything"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model.double()
    assert {t.dtype for t in answers(model)} == {torch.float64}
    attachment_of(model).detach()
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {t.dtype for t in answers(model)} == {torch.float64}
