"""Families of vision transformers: taken with every PET, or refused by name."""

from __future__ import annotations

import pytest
import timm
import torch
from families import BIASED, IN_PART, REFUSED, ROTARY, TAKEN, family, side
from models import images, relative_change
from torch import nn
from traces import assert_untouched, trace

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, trainable_tensors
from avl_pegp.pet.attention import TokenAttention
from avl_pegp.pet.attention_forms import is_readable

SILENT = {
    "lora": LoRA(2, targets=("qkv", "proj", "fc1", "fc2")),
    "lora_kv": LoRA(2, targets=("k", "v")),
    "adapter": Adapter(2),
    "attention adapter": Adapter(2, parallel_to="attention"),
}
SPEAKING = {"prefix": Prefix(3), "prompt": Prompt(3)}
PETS = {**SILENT, **SPEAKING}


@pytest.mark.parametrize("pet", PETS)
@pytest.mark.parametrize("name", TAKEN)
def test_a_pet_attaches_trains_and_detaches_without_a_trace(name, pet):
    model, x = family(name), images(2, seed=0, size=side(name))
    y, before = model(x), trace(model)
    with attach(model, PETS[pet]):
        change = relative_change(model(x), y)
        assert change <= 1e-14 if pet in SILENT else 1e-6 < change < 1
        model.train()(x).sum().backward()
        model.eval()
        assert all(p.grad is not None for p in trainable_tensors(model).values())
        trained = list(trainable_tensors(model).values())
    for p in model.parameters():
        p.grad = None
    assert len(trained) > 2
    assert_untouched(model, before)
    assert torch.equal(model(x), y)


@pytest.mark.long
@pytest.mark.parametrize("pet", SILENT)
@pytest.mark.parametrize("name", TAKEN)
def test_every_tensor_of_a_silent_pet_has_its_say(name, pet):
    """A LoRA on a layer whose weight is read past it would do nothing."""
    model, x = family(name), images(2, seed=0, size=side(name))
    attach(model, PETS[pet])
    y = model(x)
    for tensor_name, p in trainable_tensors(model).items():
        if tensor_name.endswith(("B.weight", "up.weight")):
            before = p.detach().clone()
            nn.init.normal_(p.data)
            assert relative_change(model(x), y) > 1e-9, tensor_name
            p.data.copy_(before)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", TAKEN)
def test_attention_without_learned_tokens_is_what_timm_computes(name, fused):
    model, x = family(name), images(2, seed=0, size=side(name))
    attentions = {k: m for k, m in model.named_modules() if is_readable(m)}
    assert len(attentions) >= 2
    for attention in attentions.values():
        attention.fused_attn = fused
    y = model(x)
    for path, attention in attentions.items():
        owner, _, last = path.rpartition(".")
        setattr(model.get_submodule(owner), last, TokenAttention(attention))
    torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*ROTARY, *BIASED, "parallel"])
def test_masks_reach_the_attention_under_learned_tokens(name):
    model, x = family(name), images(2, seed=0)
    if "attn_mask" not in model.forward_features.__code__.co_varnames:
        return
    attach(model, Prefix(2))
    tokens = model.forward_features(x).shape[1]
    allowed = torch.ones(tokens, tokens).tril().bool()
    causal = model.forward_features(x, is_causal=True)
    torch.testing.assert_close(model.forward_features(x, attn_mask=allowed), causal)
    assert not torch.allclose(model.forward_features(x), causal)


@pytest.mark.parametrize("name", ["eva02", "dinov3", "beit", "relative", "few heads of keys"])
def test_keys_of_a_prefix_have_no_position(name):
    """Prefixes at both ends of what they could be: rotating or biasing them would tell."""
    model, x = family(name), images(2, seed=0)
    attach(model, Prefix(2))
    attention = model.blocks[0].attn
    seen = {}
    keys = attention.tokens["prefix"].keys
    hook = keys.register_forward_pre_hook(lambda _, args: seen.update(q=args[0]))
    masses = attention.tokens["prefix"].values.register_forward_pre_hook(
        lambda _, args: seen.update(mass=args[0])
    )
    model(x)
    hook.remove(), masses.remove()
    scores = seen["q"] @ keys.weight.mT * attention.base.scale
    torch.testing.assert_close(
        seen["mass"][..., :1] / seen["mass"][..., 1:],
        (scores[..., :1] - scores[..., 1:]).exp(),
    )


@pytest.mark.parametrize("name", REFUSED)
def test_other_families_are_refused_by_name(name):
    tag, words = REFUSED[name]
    with torch.device("meta"):
        model = timm.create_model(tag, num_classes=3)
    before = trace(model, values=False)
    for pet in PETS.values():
        with pytest.raises(TypeError, match=f"{words}.*attach takes transformers.*peft's LoRA"):
            attach(model, pet)
        assert trace(model, values=False) == before


KINDS = {  # of attention that can't be read
    "sam": "Attention",
    "cait": "TalkingHeadAttn",
    "xcit": "XCA",
    "differential": "DiffAttention",
}


@pytest.mark.parametrize("name", IN_PART)
def test_attention_that_can_not_be_read_takes_other_pets(name):
    model, x = family(name), images(2, seed=0)
    y, before = model(x), trace(model)
    for pet in SILENT.values():
        with attach(model, pet):
            torch.testing.assert_close(model(x), y)
        assert_untouched(model, before)
    words = f"blocks.0.attn is {KINDS[name]}: a pr.* needs attention of"
    for pet in SPEAKING.values():
        with pytest.raises(TypeError, match=words):
            attach(model, pet)
        assert_untouched(model, before)


def test_a_subclass_with_a_forward_of_its_own_is_not_taken_for_its_parent():
    model = family("dinov3")
    parent = type(model.blocks[1].attn)

    class Doubled(parent):
        def forward(self, x, **given):
            return 2 * super().forward(x, **given)

    class Renamed(parent):
        pass

    model.blocks[1].attn.__class__ = Renamed
    attach(model, Prefix(2)).detach()
    model.blocks[1].attn.__class__ = Doubled
    with pytest.raises(TypeError, match="blocks.1.attn is Doubled"):
        attach(model, Prefix(2))
    model.blocks[1].attn.__class__ = parent
    model.blocks[1].attn.forward = lambda x, **given: x
    with pytest.raises(TypeError, match="blocks.1.attn is"):
        attach(model, Prompt(2))


def test_attention_that_reads_a_weight_and_can_not_do_otherwise_is_refused():
    model = family("beit")
    del model.blocks[0].attn.qkv_bias_separate
    with pytest.raises(TypeError, match="blocks.0.attn.qkv is not called by Attention"):
        attach(model, LoRA(2))


def test_layers_that_stand_for_one_have_each_a_lora():
    model = family("eva02, layers apart")
    attach(model, LoRA(2, targets=("qkv", "fc1")))
    block = [name for name in trainable_tensors(model) if name.startswith("blocks.0.")]
    layers = {name.rsplit(".", 2)[0].removeprefix("blocks.0.") for name in block}
    assert layers == {
        *("attn.q_proj", "attn.k_proj", "attn.v_proj"),
        *("mlp.fc1_g", "mlp.fc1_x"),
    }
    model = family("eva02, layers apart")
    attach(model, LoRA(2, targets=("v", "q")))
    assert not any("k_proj" in name for name in trainable_tensors(model))


@pytest.mark.parametrize("name", ["dinov3", "beit", "eva02, layers apart", "parallel"])
def test_lora_merges_into_every_family(name):
    model, x = family(name), images(2, seed=0)
    handle = attach(model, LoRA(2, targets=("q", "v", "proj", "fc1", "fc2")))
    for tensor_name, p in trainable_tensors(model).items():
        if tensor_name.endswith("B.weight"):
            nn.init.normal_(p.data, std=0.1)
    y = model(x)
    torch.testing.assert_close(handle.merge()(x), y)
