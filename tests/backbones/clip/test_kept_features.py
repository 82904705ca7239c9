"""Features of class prompts are computed exactly when something they depend on has changed."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from clip_forms import IMAGES, stirred
from clips import NAMES, small_clip
from torch.func import functional_call

from avl_pegp.pet import (
    Adapter,
    Context,
    LinearAdapter,
    LoRA,
    attach,
    attachment_of,
    load_pet,
    pet_parameters,
    save_pet,
    trainable_tensors,
)

TEXT_SIDE = (LoRA(2), Context(3), Adapter(2, tower="text"), LinearAdapter(2, tower="text"))
OPTIMIZERS = {
    "one by one": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=False),
    "all at once": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
}


class Counted:
    """A model, and how often its text tower has run."""

    def __init__(self, *pets):
        self.model, self.calls = small_clip(), 0
        attach(self.model, *(pets or TEXT_SIDE))
        stirred(self.model).clip.ln_final.register_forward_pre_hook(self._count)
        self.answers()

    def _count(self, *_):
        self.calls += 1

    @torch.no_grad()
    def answers(self):
        """Logits; they must be those of features computed now."""
        logits = self.model(IMAGES)
        calls = self.calls
        with self.model.only(None):
            assert torch.equal(self.model(IMAGES), logits)
        self.calls = calls
        return logits

    def forget(self):
        self.calls = 0


def moved(tensor):
    """The tensor with noise in it: LayerNorms would not notice a constant."""
    return tensor.add_(0.1 * torch.randn_like(tensor))


def write(name):
    def change(model, folder):
        with torch.no_grad():
            moved(model.get_parameter(name))

    return change


def step(kind):
    def change(model, folder):
        optimizer = OPTIMIZERS[kind](pet_parameters(model))
        model(IMAGES).square().sum().backward()
        optimizer.step()

    return change


def load_other_pet(model, folder):
    other = small_clip()
    attach(other, *TEXT_SIDE)
    save_pet(stirred(stirred(other)), folder)
    load_pet(model, folder)


def load_other_state(model, folder):
    other = copy.deepcopy(model)
    model.load_state_dict(stirred(other).state_dict())


def replace_the_memory(model, folder):
    tensor = model.clip.positional_embedding
    tensor.data = moved(tensor.data.clone())


def change_a_buffer(model, folder):
    model.settle_context([0, 1])


def round_to_half(model, folder):
    model.half().double()


CHANGES = {
    "a frozen tensor": write("clip.ln_final.weight"),
    "a LoRA's frozen neighbour": write("clip.transformer.resblocks.1.attn.in_proj_bias"),
    "an adapter": write("clip.transformer.resblocks.1.mlp.up.weight"),
    "the context": write("clip.token_embedding.vectors.weight"),
    "words": write("clip.token_embedding.base.weight"),
    "the projection": write("clip.text_projection"),
    "the linear adapter": write("text_features.up.bias"),
    "a settled context": change_a_buffer,
    "uncounted": lambda model, folder: moved(model.text_features.down.weight.data),
    "another memory": replace_the_memory,
    "dtype and back": round_to_half,
    "load_pet": load_other_pet,
    "load_state_dict": load_other_state,
    "other classes": lambda model, folder: model.set_classes(NAMES[::-1]),
    "detached": lambda model, folder: attachment_of(model).detach(),
    **{f"a step, {kind}": step(kind) for kind in OPTIMIZERS},
}


@pytest.mark.parametrize("change", CHANGES)
def test_they_are_computed_once_after_each_change(change, tmp_path):
    counted = Counted()
    before = counted.answers()
    CHANGES[change](counted.model, tmp_path)
    counted.forget()
    for calls in (1, 1):
        assert not torch.allclose(counted.answers(), before, rtol=0, atol=1e-9)
        assert counted.calls == calls


def test_nothing_else_makes_them_be_computed():
    counted = Counted(LoRA(2))
    counted.forget()
    model, optimizer = counted.model, torch.optim.SGD(pet_parameters(counted.model), lr=0.1)
    for mode in (True, False):
        model.train(mode)(IMAGES).square().sum().backward()
        optimizer.step()
        counted.answers()
        model.encode_image(IMAGES)
    with torch.no_grad():
        model.clip.logit_scale.add_(1)
    counted.answers()
    assert counted.calls == 0


def test_where_the_text_side_is_trained_each_step_computes_them_with_gradients():
    counted = Counted()
    counted.forget()
    for calls in (1, 2):
        counted.model(IMAGES).square().sum().backward()
        assert counted.calls == calls
    assert all(p.grad is not None for p in trainable_tensors(counted.model).values())


def test_a_call_with_other_tensors_neither_takes_nor_leaves_features():
    """As the teacher of learning without forgetting is called."""
    counted = Counted()
    before, model = counted.answers(), counted.model
    others = {name: moved(p.detach().clone()) for name, p in trainable_tensors(model).items()}
    with torch.no_grad():
        taught = functional_call(model, others, (IMAGES,))
        assert torch.equal(counted.answers(), before)
        for name, tensor in trainable_tensors(model).items():
            tensor.copy_(others[name])
    torch.testing.assert_close(counted.answers(), taught, rtol=0, atol=1e-12)
    assert not torch.allclose(taught, before)


def test_disabled_pets_take_their_features_with_them():
    counted = Counted()
    before = counted.answers()
    with attachment_of(counted.model).disabled():
        assert not torch.allclose(counted.answers(), before)
    assert torch.equal(counted.answers(), before)


def by_torch(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle, by_torch])
def test_a_copy_does_not_inherit_features_that_are_no_longer_right(copied):
    first = copied(Counted().model)  # where the versions of all tensors are zero
    with torch.no_grad():
        before = first(IMAGES)
        moved(first.clip.ln_final.weight)
        second = copied(first)
        assert torch.equal(second(IMAGES), first(IMAGES))
        assert not torch.allclose(second(IMAGES), before)


def test_features_of_inference_mode_and_autocast_serve_outside_of_them():
    model = small_clip(torch.float32)
    attach(model, LoRA(2))
    for context in (torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        model.set_classes(NAMES)
        with context:
            model(IMAGES.float())
        kept = model(IMAGES.float())
        kept.square().sum().backward()
        model.set_classes(NAMES)
        assert torch.equal(model(IMAGES.float()), kept)
