"""Invariants of every PET on every family: from attaching to detaching without a trace."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from models import PETS, images, small_vit
from torch import nn

from avl_pegp.pet import (
    Adapter,
    LoRA,
    Prefix,
    Prompt,
    attach,
    attachment_of,
    trainable_tensors,
)

FAMILIES = {
    "vit": ("vit_tiny_patch16_224", {"img_size": 32}),
    "vit_no_class_token": (
        "vit_tiny_patch16_224",
        {"img_size": 32, "class_token": False, "global_pool": "avg"},
    ),
    "deit3": ("deit3_small_patch16_224", {"img_size": 32}),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 28, "num_heads": 3}),
    "clip": ("vit_base_patch32_clip_224", {"img_size": 64, "embed_dim": 96, "num_heads": 3}),
    "test_vit": ("test_vit", {"img_size": 32}),
    "qk_norm": ("test_vit", {"img_size": 32, "qk_norm": True}),
    "dynamic_size": ("vit_tiny_patch16_224", {"img_size": 64, "dynamic_img_size": True}),
}
ALL = {
    **PETS,
    "lora_kv": LoRA(3, targets=("k", "v")),
    "attention_adapter": Adapter(4, parallel_to="attention"),
    "input_prompt": Prompt(3, deep=False),
    "together": (LoRA(2, targets=("qkv", "proj")), Adapter(2), Prefix(2), Prompt(2)),
    "together_kv": (LoRA(2, targets=("k", "v")), Adapter(2), Prefix(2), Prompt(2)),
}
SILENT = ["lora", "lora_kv", "adapter", "attention_adapter"]


def family(name):
    torch.manual_seed(0)
    tag, options = FAMILIES[name]
    return timm.create_model(tag, num_classes=5, **{"depth": 3, "embed_dim": 96, **options}).eval()


def pets(name):
    return ALL[name] if isinstance(ALL[name], tuple) else (ALL[name],)


def state(model):
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        {n: p.requires_grad for n, p in model.named_parameters()},
        {n: m.training for n, m in model.named_modules()},
        [type(m) for m in model.modules()],
    )


def assert_same_state(new, old):
    assert new[0].keys() == old[0].keys()
    assert all(torch.equal(new[0][key], old[0][key]) for key in old[0])
    assert new[1:] == old[1:]


@pytest.mark.parametrize("pet", ALL)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pet_attaches_trains_and_detaches_without_a_trace(name, pet):
    model = family(name)
    x = images(2, seed=0, dtype=torch.float32, size=FAMILIES[name][1]["img_size"])
    before, y = state(model), model(x)
    with attach(model, *pets(pet)):
        if pet in SILENT:
            assert torch.equal(model(x), y)
        model.train()(x).sum().backward()
        model.eval()
        assert all(p.grad is not None for p in trainable_tensors(model).values())
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert_same_state(state(model), before)
    assert torch.equal(model(x), y)


@pytest.mark.parametrize("pet", ["lora", "adapter", "prefix", "prompt"])
def test_dynamic_image_sizes_pass_through(pet):
    model = family("dynamic_size")
    with attach(model, *pets(pet)):
        assert model(images(1, seed=0, dtype=torch.float32, size=96)).shape == (1, 5)


@pytest.mark.parametrize("pet", ["prefix", "prompt"])
def test_masks_hide_own_tokens_and_never_learned_ones(pet):
    """A causal mask must equal the same mask spelled out, boolean or additive."""
    model = small_vit()
    attach(model, *pets(pet))
    x = images(2, seed=0)
    causal = model.forward_features(x, is_causal=True)
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    additive = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~allowed, float("-inf"))
    for mask in (allowed, additive):
        torch.testing.assert_close(model.forward_features(x, attn_mask=mask), causal)
    assert not torch.allclose(model.forward_features(x), causal)


@pytest.mark.parametrize("pet", ["prefix", "prompt", "together"])
def test_observing_changes_no_output(pet):
    model = small_vit()
    attach(model, *pets(pet))
    x = images(2, seed=0)
    unseen, calls = model(x), []
    hooks = [
        m.register_forward_pre_hook(lambda m, _: calls.append(m))
        for m in model.modules()
        if hasattr(m, "contracted_dim")
    ]
    torch.testing.assert_close(model(x), unseen)
    assert len(calls) == len(hooks) > 0
    for hook in hooks:
        hook.remove()
    calls.clear()
    model(x)
    assert calls == []  # unobserved, nobody calls them, and no attention matrix is formed


def test_the_backbone_stays_in_eval_mode_while_the_model_trains():
    model = small_vit(drop_path_rate=0.5, proj_drop_rate=0.5, attn_drop_rate=0.5, pos_drop_rate=0.5)
    handle = attach(model, Prefix(2))
    x = images(2, seed=0)
    for mode in (True, False, True):
        model.train(mode)
        assert model.training is mode
        assert model.head.training is mode
        assert not model.blocks[0].attn.base.attn_drop.training
        assert torch.equal(model(x), model(x))  # no dropout
    handle.detach()
    model.train()
    assert model.blocks[0].attn.attn_drop.training
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("mode", [True, False])
def test_detaching_brings_back_mixed_modes_or_keeps_a_new_one(mode):
    model = small_vit(drop_path_rate=0.5).train(mode)
    model.blocks[0].train(not mode)
    before = state(model)
    attach(model, LoRA(2)).detach()
    assert_same_state(state(model), before)
    handle = attach(model, LoRA(2))
    model.train(not mode)
    handle.detach()
    assert {module.training for module in model.modules()} == {not mode}


def test_a_deep_copy_and_a_pickle_are_models_of_their_own():
    model = small_vit()
    attach(model, LoRA(2), Prompt(2))
    x = images(2, seed=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
        other.train()
        assert not other.blocks[0].training
        attachment_of(other).detach()
        assert not any("A.weight" in name for name, _ in other.named_parameters())
        assert attachment_of(model) is not None
        assert model.blocks[0].attn.tokens["prompt"].mass.weight is not None


def test_pets_follow_the_models_dtype_before_and_after():
    model = small_vit(torch.float32)
    attach(model, *pets("together"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model.to(torch.float64)
    assert model(images(1, seed=0)).dtype == torch.float64
    attachment_of(model).detach()
    assert {p.dtype for p in model.parameters()} == {torch.float64}


class TestBadInput:
    def test_attaching_twice_is_refused_and_changes_nothing(self):
        model = small_vit()
        attach(model, LoRA(2))
        before = state(model)
        with pytest.raises(RuntimeError, match="already has PETs: detach"):
            attach(model, Prefix(2))
        assert_same_state(state(model), before)

    def test_detaching_twice_is_refused(self):
        handle = attach(small_vit(), LoRA(2))
        handle.detach()
        with pytest.raises(RuntimeError, match="after the PETs were detached"):
            handle.detach()

    def test_detaching_under_a_later_wrapper_is_refused(self):
        model = small_vit()
        handle = attach(model, Prefix(2))
        mine = model.blocks[0].attn
        model.blocks[0].attn = nn.Sequential(mine)
        with pytest.raises(RuntimeError, match="out of order: attn of a Block"):
            handle.detach()
        model.blocks[0].attn = mine
        handle.detach()

    @pytest.mark.parametrize(
        ("pets", "message"),
        [
            ((), "without a PET"),
            ((LoRA(2, blocks=[1, 3]),), r"LoRA.blocks has \[3\], but the model has 3 blocks"),
            ((LoRA(65),), "LoRA.rank=65 is above the width 64 of blocks.0.attn.qkv"),
            ((Prefix(2), Prefix(3)), "already has a prefix"),
            ((Adapter(2), Adapter(3)), "already has an adapter"),
            ((Prompt(2, deep=False, blocks=[0, 2]),), "must be consecutive"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_leaves_no_trace(self, pets, message):
        model = small_vit()
        before = state(model)
        with pytest.raises(ValueError, match=message):
            attach(model, *pets)
        assert_same_state(state(model), before)

    @pytest.mark.parametrize("pet", ["lora", LoRA, None])
    def test_what_is_no_configuration_is_refused(self, pet):
        with pytest.raises(TypeError, match=r"give configurations such as LoRA\(rank=4\)"):
            attach(small_vit(), pet)

    def test_models_of_another_form_are_refused(self):
        with pytest.raises(TypeError, match="Linear has no `blocks`"):
            attach(nn.Linear(2, 2), LoRA(2))

    def test_attention_of_another_form_is_refused(self):
        model = small_vit(attn_layer="diff", num_heads=2)
        with pytest.raises(TypeError, match="blocks.0.attn is DiffAttention: a prefix needs"):
            attach(model, Prefix(2))

    def test_a_mask_is_refused_where_input_tokens_would_not_be_covered(self):
        model = small_vit()
        attach(model, Prompt(2, deep=False))
        for mask in ({"attn_mask": torch.ones(5, 5).bool()}, {"is_causal": True}):
            with pytest.raises(ValueError, match="attn_mask or is_causal is given"):
                model.forward_features(images(1, seed=0), **mask)
