"""Towers: where PETs find their places in a model, and what is refused there."""

from __future__ import annotations

import pytest
import timm
from clip_forms import FORMS, assert_same_state, state
from clips import small_clip
from models import small_vit
from torch import nn

from avl_pegp.pet import (
    Adapter,
    Context,
    LinearAdapter,
    LoRA,
    Prefix,
    Prompt,
    attach,
    attachment_of,
)
from avl_pegp.pet.fused import AsMultihead, FusedAttention
from avl_pegp.pet.towers import OPEN_CLIP, TIMM, towers_of


def replace(parent, name, new):
    setattr(parent, name, new)


def towers(model):
    return towers_of(model, replace)


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_has_two_towers_whose_parts_are_found_by_timms_names(form):
    found = towers(FORMS[form]())
    assert list(found) == ["image", "text"]
    for name, tower in found.items():
        width = {"image": 64, "text": 48}[name]
        shapes = {"qkv": (3 * width, width), "proj": (width, width)}
        for i in tower.indices(LoRA(2)):
            for part in TIMM:
                assert tower.find(i, part) is not None, tower.path(i, part)
                tower.model.get_submodule(tower.path(i, part))
            for part, shape in shapes.items():
                assert tower.find(i, part).weight.shape == shape
        assert tower.like().shape == (width,)


def test_a_timm_model_has_an_image_tower_alone_and_its_own_attention():
    model = small_vit()
    (tower,) = towers(model).values()
    assert tower.find(0, "qkv") is model.blocks[0].attn.qkv
    assert tower.path(2, "fc1") == "blocks.2.mlp.fc1"


def test_attention_takes_timms_form_once():
    model = small_clip()
    tower = towers(model)["text"]
    first, block = tower.find(0, "attn"), model.clip.transformer.resblocks[0]
    assert type(first) is FusedAttention
    assert tower.find(0, "qkv") is first.qkv
    assert type(block.attn) is AsMultihead
    assert type(model.clip.transformer.resblocks[1].attn) is nn.MultiheadAttention


def test_a_part_that_is_not_there_is_none():
    model = small_clip()
    del model.clip.visual.transformer.resblocks[1].mlp.c_fc
    tower = towers(model)["image"]
    assert tower.find(1, "fc1") is None
    assert tower.find(0, "fc1") is not None


def test_what_wraps_a_block_does_not_hide_the_towers_width():
    tower = towers(small_clip())["image"]
    tower.put_block(0, nn.Sequential(tower.blocks[0]))
    assert tower.like().shape == (64,)


def test_indices_are_all_blocks_or_those_that_are_named():
    tower = towers(small_clip())["image"]
    assert tower.indices(Adapter(2)) == [0, 1, 2]
    assert tower.indices(Adapter(2, blocks=[2, 0])) == [0, 2]
    with pytest.raises(
        ValueError, match=r"Adapter.blocks has \[3, 5\], but the model has 3 blocks"
    ):
        tower.indices(Adapter(2, blocks=[0, 3, 5]))


def test_both_layouts_name_the_same_parts():
    assert OPEN_CLIP.keys() == TIMM.keys()


class TestBadInput:
    @pytest.mark.parametrize(
        ("pets", "error", "message"),
        [
            (LoRA(2, blocks=[3]), ValueError, r"LoRA.blocks has \[3\], but the model has 3 blocks"),
            (LoRA(2, blocks=[2], tower="text"), ValueError, "but the model has 2 blocks"),
            (
                LoRA(49, tower="text"),
                ValueError,
                "above the width 48 of clip.transformer.resblocks.0",
            ),
            ((Prefix(2), Prefix(3)), ValueError, "resblocks.0.attn.fused already has a prefix"),
            ((Adapter(2), Adapter(3)), ValueError, "resblocks.0.mlp already has an adapter"),
            (
                (LinearAdapter(2), LinearAdapter(3)),
                ValueError,
                "image_features already has an adapter",
            ),
            ((Context(2), Context(3)), ValueError, "already has a Context: give one"),
            (Prompt(2, deep=False, blocks=[0, 2]), ValueError, "must be consecutive"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_leaves_no_trace(self, pets, error, message):
        model = small_clip()
        before = state(model)
        with pytest.raises(error, match=message):
            attach(model, *(pets if isinstance(pets, tuple) else (pets,)))
        assert_same_state(state(model), before)

    @pytest.mark.parametrize(
        "pet", [LoRA(2, tower="text"), Context(2), Prefix(2, tower="text"), LinearAdapter(2)]
    )
    def test_pets_of_a_clip_are_refused_by_a_timm_model(self, pet):
        model = timm.create_model("test_vit", num_classes=2)
        with pytest.raises(TypeError, match="no text tower|stands on the features of a CLIP"):
            attach(model, pet)
        assert attachment_of(model) is None
        assert all(p.requires_grad for p in model.parameters())

    def test_attention_of_another_form_is_refused(self):
        model = small_clip()
        mine = type("Mine", (nn.MultiheadAttention,), {})(64, 2, batch_first=True)
        model.clip.visual.transformer.resblocks[1].attn = mine
        for pet, message in (
            (Prefix(2), "attn.fused is nothing: a prefix needs"),
            (LoRA(2), "qkv is"),
        ):
            with pytest.raises(TypeError, match=message):
                attach(model, pet)
        assert model.clip.visual.transformer.resblocks[1].attn is mine

    @pytest.mark.parametrize("kind", [LoRA, Adapter, Prefix, Prompt, LinearAdapter])
    def test_a_tower_of_another_name_is_refused(self, kind):
        with pytest.raises(
            ValueError, match=f"{kind.__name__}.tower='audio': must be one of image"
        ):
            kind(2, tower="audio")

    def test_input_tokens_in_a_text_are_refused(self):
        with pytest.raises(ValueError, match="Prompt.deep=False with tower='text'"):
            Prompt(2, deep=False, tower="text")

    def test_a_clip_that_nothing_wraps_is_refused(self):
        with pytest.raises(TypeError, match="CLIP has no `blocks`.*what create_clip returns"):
            attach(small_clip().clip, LoRA(2))
