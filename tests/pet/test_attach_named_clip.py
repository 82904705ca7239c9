"""Invariants of PETs on the CLIPs of open_clip: some in full size, one of each kind by its shapes."""

from __future__ import annotations

import json
import re
import zlib
from functools import partial

import open_clip
import pytest
import torch
from clip_forms import LOUD, SILENT, stirred
from timm.models.vision_transformer import VisionTransformer

from avl_pegp import create_clip
from avl_pegp.pet import Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt, attach
from avl_pegp.pet import trainable_tensors as trained

pytestmark = pytest.mark.long
ONE_BLOCK = {"layers": 1}
NAMES = ["fox", "old road"]
IN_FULL_SIZE = ("ViT-B-16", "ViT-B-32-quickgelu", "ViT-L-14", "ViT-B-16-SigLIP")
ON_BOTH = (
    *(LoRA(2, targets=("qkv", "proj"), tower=tower) for tower in ("image", "text")),
    *(Adapter(2, parallel_to="attention", tower=tower) for tower in ("image", "text")),
    *(LinearAdapter(2, tower=tower) for tower in ("image", "text")),
    *(kind(2, tower=tower) for kind in (Prefix, Prompt) for tower in ("image", "text")),
    Prompt(2, deep=False),
)


def bytes_as_tokens(length, texts):
    """A tokenizer for towers whose own is on a hub."""
    return torch.tensor([list(text.encode().ljust(length)) for text in texts])


def built(name, **options):
    """The model of this name, with random weights."""
    text = open_clip.get_model_config(name)["text_cfg"]
    stand_in = partial(bytes_as_tokens, text.get("context_length", 77))
    tokenizer = stand_in if "hf_tokenizer_name" in text else None
    return create_clip(name, NAMES, tokenizer=tokenizer, **options).eval()


def fitting(model, pets):
    """Those of the PETs that the model takes: a context is not for every text tower."""
    takes_all = hasattr(model.tokenizer, "encode") and model._text.is_causal
    return [pet for pet in pets if takes_all or not isinstance(pet, Context)]


def modules_and_modes(model):
    """The very modules and parameters by name, with what ``attach`` changes about them."""
    modules = {name: (id(m), m.training) for name, m in model.named_modules()}
    return modules, {name: (id(p), p.requires_grad) for name, p in model.named_parameters()}


def checksums(model):
    """Of the tensors' bytes, as a second copy of a large model would not fit everywhere."""
    return {name: zlib.crc32(t.numpy().tobytes()) for name, t in model.state_dict().items()}


@pytest.mark.parametrize("name", IN_FULL_SIZE)
def test_a_clip_in_full_size_takes_pets_and_is_left_without_a_trace(name):
    torch.manual_seed(0)
    model = built(name)
    images = torch.rand(1, 3, *model.clip.visual.image_size) * 2 - 1
    with torch.no_grad():
        then = model(images)
    before = modules_and_modes(model), checksums(model)
    with attach(model, *fitting(model, SILENT["all that is silent"])):
        logits = model(images)
        torch.testing.assert_close(logits.detach(), then, rtol=0, atol=1e-5)
        logits.square().sum().backward()
        tensors = trained(model)
        assert {n for n, p in model.named_parameters() if p.grad is not None} == tensors.keys()
        assert not before[1].keys() & tensors.keys()
        stirred(model)
    model.zero_grad()
    with (
        attach(model, *LOUD["prefix"], *LOUD["text prefix and prompt"], Prompt(2)),
        torch.no_grad(),
    ):
        assert not torch.allclose(model(images), then, rtol=0, atol=1e-5)
    assert (modules_and_modes(model), checksums(model)) == before
    with torch.no_grad():
        assert torch.equal(model(images), then)


def shapes(model):
    """Of image features and of text tokens: what a model without numbers can be asked for."""
    root = model._text.root
    tokens = torch.zeros(3, len(root.positional_embedding), dtype=torch.long)
    texts = root.transformer(root.token_embedding(tokens), attn_mask=root.attn_mask)
    images = model.clip.visual(torch.zeros(2, 3, *model.clip.visual.image_size))
    features = model.text_features(torch.zeros(3, model._text.width))
    return model.image_features(images).shape, texts.shape, features.shape


def kind_of(name):
    """A configuration without its numbers: depths, widths and sizes make no difference here."""
    return re.sub(r"[0-9.]+", "", json.dumps(open_clip.get_model_config(name)))


KINDS = {kind_of(name): name for name in reversed(open_clip.list_models())}


@pytest.mark.parametrize("name", KINDS.values())
def test_every_kind_of_configuration_is_built_and_takes_pets_or_is_refused_with_the_reason(name):
    is_open_clips = isinstance(open_clip.get_model_config(name)["vision_cfg"].get("layers"), int)
    options = {"vision_cfg": ONE_BLOCK} if is_open_clips else {}
    with torch.device("meta"):
        try:
            model = built(name, text_cfg=ONE_BLOCK, **options)
        except TypeError as error:
            assert "supported are image towers that are vision transformers" in str(error)
            assert not name.startswith("ViT")
            return
        towers = (open_clip.model.VisionTransformer, VisionTransformer)
        assert isinstance(getattr(model.clip.visual, "trunk", model.clip.visual), towers)
        assert type(model.clip) in (open_clip.CLIP, open_clip.CustomTextCLIP)
        before, then = modules_and_modes(model), shapes(model)
        with attach(model, *fitting(model, (*ON_BOTH, Context(2)))):
            assert shapes(model) == then
            assert trained(model).keys().isdisjoint(before[1])
    assert modules_and_modes(model) == before
