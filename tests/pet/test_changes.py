"""After any error in attach the model is as it was, whatever failed and wherever."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import timm
import torch
from avalanche.models import as_multitask
from models import images, small_vit
from torch import nn
from torch.nn import functional as F
from traces import assert_untouched, trace

import avl_pegp.pet
from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, attachment_of, pet_parameters

ROOM = str(Path(avl_pegp.pet.__file__).parent)
MIXTURES = {
    "lora": (LoRA(2, targets=("q", "proj", "fc1")),),
    "adapter and learned tokens": (Adapter(2), Prefix(2), Prompt(2)),
    "input tokens": (Prompt(2, deep=False),),
}


def used_vit(**options):
    """A model after a step of training: mixed modes, a frozen tensor, gradients."""
    model = small_vit(torch.float32, depth=2, **options)
    model.pos_embed.requires_grad_(False)
    model.blocks[1].eval()
    model(images(2, seed=0, dtype=torch.float32)).sum().backward()
    return model


def interrupted_at(count, call):
    """Call under an interrupt at the count-th line that runs in the room of PETs.

    Returns:
        Whether it came to that.
    """
    left = count

    def lines(frame, event, argument):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return lines

    def calls(frame, event, argument):
        return lines if frame.f_code.co_filename.startswith(ROOM) and left > 0 else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.long
@pytest.mark.parametrize("names", MIXTURES)
def test_an_interrupt_at_any_line_leaves_no_trace(names):
    model = used_vit()
    before, count = trace(model), 1
    while interrupted_at(count, lambda: attach(model, *MIXTURES[names])):
        assert_untouched(model, before)
        count += 1
    assert count > 100
    assert attachment_of(model) is not None


@pytest.mark.parametrize("count", [1, 20, 60, 100, 140, 200, 260])
def test_an_interrupt_leaves_no_trace(count):
    model = used_vit()
    before = trace(model)
    assert interrupted_at(count, lambda: attach(model, *MIXTURES["adapter and learned tokens"]))
    assert_untouched(model, before)


class Failing:
    """A PET that goes in after all others, and fails."""

    depth, tower, blocks = 9, "image", None

    def __init__(self, error):
        self.error = error

    def install(self, tower):
        raise self.error


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("names", MIXTURES)
def test_a_pet_that_fails_takes_all_others_with_it(names, error):
    model = used_vit()
    before = trace(model)
    with pytest.raises(error):
        attach(model, *MIXTURES[names], Failing(error()))
    assert_untouched(model, before)
    attach(model, *MIXTURES[names]).detach()


def raise_lookup(*_):
    raise LookupError("no classifier today")


@pytest.mark.parametrize(
    ("classifier", "error"),
    [(raise_lookup, LookupError), (lambda model: None, TypeError), (lambda model: (), TypeError)],
)
def test_a_classifier_that_can_not_be_had_is_an_error_before_anything_stays(
    monkeypatch, classifier, error
):
    model = used_vit()
    monkeypatch.setattr(type(model), "get_classifier", classifier)
    before = trace(model)
    with pytest.raises(error):
        attach(model, LoRA(2), Prefix(2))
    assert_untouched(model, before)


@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224"]
)
def test_a_model_with_two_heads_is_refused_by_name(name):
    model = timm.create_model(name, img_size=32, depth=1, embed_dim=48, num_heads=3, num_classes=4)
    before = trace(model)
    with pytest.raises(TypeError, match="VisionTransformerDistilled.get_classifier.*2 modules"):
        attach(model, LoRA(2))
    assert_untouched(model, before)
    model(images(1, seed=0, dtype=torch.float32))


@pytest.mark.parametrize("wrap", [nn.DataParallel, nn.Sequential, torch.compile])
def test_a_wrapped_model_is_refused_with_what_to_do(wrap):
    wrapped = wrap(small_vit())
    with pytest.raises(TypeError, match="is wrapped around a VisionTransformer: attach to the"):
        attach(wrapped, LoRA(2))
    inner = small_vit()
    attach(inner, LoRA(2))
    with pytest.raises(RuntimeError, match="already has PETs"):
        attach(wrap(inner), LoRA(2))


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1, foreach=False),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_of_before_moves_nothing_that_attach_froze(optimizer):
    """It has momentum for every tensor, and found gradients of the last step."""
    model, x = small_vit(), images(2, seed=0)
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    model(x).sum().backward()
    optimizer.step()
    frozen = {
        name: p.clone() for name, p in model.named_parameters() if not name.startswith("head")
    }
    handle = attach(model, LoRA(2))
    for _ in range(2):
        F.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    handle.detach()
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())


def test_gradients_of_the_classifier_stay_and_those_of_the_frozen_go():
    model = used_vit()
    head = model.head.weight.grad
    handle = attach(model, LoRA(2))
    assert model.head.weight.grad is head
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        "head.weight",
        "head.bias",
    }
    handle.detach()
    assert model.blocks[0].attn.qkv.weight.grad is None


def test_detaching_from_blocks_that_were_cut_off_is_refused():
    model = small_vit()
    handle = attach(model, LoRA(2))
    blocks = model.blocks
    model.prune_intermediate_layers([0], prune_head=False)
    with pytest.raises(RuntimeError, match="with qkv is no longer part of the model"):
        handle.detach()
    model.blocks = blocks
    handle.detach()


class TestPrinting:
    def test_a_handle_tells_its_pets_their_places_and_what_is_trained(self):
        model = small_vit()
        handle = attach(model, LoRA(2, targets=("q", "proj"), blocks=[0, 2]), Adapter(3))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        whole = sum(p.numel() for p in model.parameters())
        said = str(handle)
        assert "LoRA(rank=2, alpha=None, targets=('q', 'proj'), blocks=(0, 2)" in said
        assert "Adapter(bottleneck=3" in said
        assert "blocks.*.attn.qkv (2), blocks.*.attn.proj (2), blocks.*.mlp (3)" in said
        assert f"trained: {trained:,} of {whole:,} values ({100 * trained / whole:.1f} %)" in said
        assert f"{6 * 64 + 6:,} of them in the classifier" in said
        assert "trained: " in repr(copy.deepcopy(model))

    def test_a_handle_that_is_off_says_so(self):
        handle = attach(small_vit(), Prefix(2))
        assert "blocks.*.attn (3)" in str(handle)
        handle.detach()
        assert str(handle) == "Attachment(Prefix(length=2, blocks=None, tower='image'); detached)"


def test_a_model_with_heads_for_tasks_is_taken_and_comes_back():
    model = as_multitask(small_vit(torch.float32), "head")
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    with attach(model, LoRA(2)) as handle:
        assert all(p.requires_grad for p in model.head.parameters())
        assert len(pet_parameters(model, head_lr=0.1)) == 3
        assert "390 of them in the classifier" in str(handle)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == trainable
    assert not any("pet_attachment" in name for name, _ in model.named_modules())
