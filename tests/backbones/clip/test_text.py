"""``TextTower`` against open_clip's own ``encode_text``, in every form that it supports."""

from __future__ import annotations

import pytest
import torch
from clip_forms import stirred
from clips import small_clip

from avl_pegp.backbones.clip.text import TextTower
from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach

END = 49407
POOLS = {
    "argmax": {},
    "eos": {"pool_type": "eos", "eos_id": 7},
    "first": {"pool_type": "first"},
    "last": {"pool_type": "last"},
}
PROJECTIONS = {
    "a matrix": {},
    "a linear layer": {"proj_bias": True},
    "none": {"proj_type": "none"},
}
BLOCK_0 = {
    "lora on the mlp": LoRA(2, targets=("fc1", "fc2"), blocks=[0], tower="text"),
    "adapter beside the mlp": Adapter(2, blocks=[0], tower="text"),
    "lora on attention": LoRA(2, blocks=[0], tower="text"),
    "adapter beside attention": Adapter(2, parallel_to="attention", blocks=[0], tower="text"),
}


def tower(**options):
    """A tower and the model that it is of, with biases that are not zero."""
    model = small_clip(**options)
    torch.manual_seed(3)
    with torch.no_grad():
        for p in model.clip.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return TextTower(model.clip), model.clip


def texts(lengths, end=END):
    """Token numbers of texts of these lengths, with noise behind the end token."""
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(10, 900, (len(lengths), 16), generator=generator)
    for row, length in zip(tokens, lengths, strict=True):
        row[0], row[length - 1] = 49406, end
    return tokens


@torch.no_grad()
@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("custom_text", [True, False])
def test_it_gives_what_open_clip_gives(pool, causal, projection, custom_text):
    if projection == "a linear layer" or projection == "none":
        custom_text = True  # only there can it be chosen
    text = {**POOLS[pool], **PROJECTIONS[projection], "no_causal_mask": not causal}
    if projection == "none":
        text["width"], text["heads"] = 40, 2
    own, clip = tower(custom_text=custom_text, **text)
    tokens = texts([3, 9, 16, 5], 7 if pool == "eos" else END)
    assert own.is_causal == (causal and pool in ("argmax", "eos"))
    assert own.width == 40
    torch.testing.assert_close(own.encode(tokens), clip.encode_text(tokens), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_text_has_the_same_features_whatever_else_is_encoded():
    own, _ = tower()
    tokens = texts([3, 16, 5, 12])
    together = own.encode(tokens)
    for order in ([0], [2, 0], [3, 1, 0, 2]):
        torch.testing.assert_close(own.encode(tokens[order]), together[order], rtol=0, atol=1e-12)


def test_what_stands_behind_the_last_end_is_never_computed():
    own, clip = tower()
    lengths = []
    clip.transformer.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    for longest in (3, 9, 16):
        own.encode(texts([3, longest]))
    assert lengths == [3, 9, 16]


@pytest.mark.parametrize("pet", BLOCK_0)
def test_a_pet_in_the_first_block_leaves_open_clips_ways_of_asking_behind(pet):
    """open_clip asks ``mlp.c_fc.weight`` of the first block for its dtype: there may be none."""
    model = small_clip()
    attach(model, BLOCK_0[pet])
    tokens = texts([5, 9])
    with torch.no_grad():
        before = model.encode_tokens(tokens)
        assert not torch.allclose(stirred(model).encode_tokens(tokens), before)


@pytest.mark.parametrize("pet", [Prefix(3, tower="text"), Prompt(3, tower="text")])
def test_tokens_that_are_learned_do_not_break_causality(pet):
    model = small_clip()
    attach(model, pet)
    stirred(model)
    tokens = texts([5, 16])
    with torch.no_grad():
        both = model.encode_tokens(tokens)
        torch.testing.assert_close(model.encode_tokens(tokens[:1]), both[:1], rtol=0, atol=1e-12)


def test_its_tensors_are_all_that_its_features_depend_on():
    for custom_text, projection in ((False, {}), (True, {"proj_bias": True})):
        own, clip = tower(custom_text=custom_text, **projection)
        found = {id(t) for t in own.tensors()}
        own.encode(texts([16])).square().sum().backward()
        named = dict(clip.named_parameters())
        assert {n for n, p in named.items() if p.grad is not None} == {
            n for n, p in named.items() if id(p) in found
        }


@pytest.mark.parametrize("text", [{"pool_type": "none"}, {"embed_cls": True}])
def test_other_forms_are_refused(text):
    with pytest.raises(
        TypeError, match="as text tower: must be open_clip's own, with pool_type one"
    ):
        small_clip(custom_text=True, **text)


def test_a_mask_over_padding_is_refused():
    clip = small_clip(custom_text=True).clip
    clip.text.use_pad_mask = True
    with pytest.raises(TypeError, match="without embed_cls and use_pad_mask"):
        TextTower(clip)


def test_a_tower_of_transformers_is_refused():
    class HFTextEncoder(torch.nn.Module):
        pass

    model = small_clip(custom_text=True)
    model.clip.text = HFTextEncoder()
    with pytest.raises(TypeError, match="HFTextEncoder with pool_type=None as text tower"):
        TextTower(model.clip)
