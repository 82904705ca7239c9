"""LoRA against matrices written out: on whole layers, and on queries, keys and values alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from models import images, small_vit
from torch import nn

from avl_pegp.pet import Adapter, LoRA, attach, attachment_of, trainable_tensors

THIRDS = ("q", "k", "v")
SUBSETS = [some for count in (1, 2, 3) for some in combinations(THIRDS, count)]


def tuned(*targets, **options):
    """A small model with a LoRA of rank 2 and scale 3 in which nothing is zero."""
    model = small_vit(**options)
    attach(model, LoRA(2, alpha=6, targets=targets))
    for name, p in trainable_tensors(model).items():
        if name.endswith("B.weight"):
            nn.init.normal_(p)
    return model


def array(tensor):
    return tensor.detach().numpy()


def product(branch):
    """B A (d_out, d_in)."""
    return array(branch.B.weight) @ array(branch.A.weight)


@pytest.mark.parametrize("rebases", [0, 2])
@pytest.mark.parametrize("targets", [("qkv",), *SUBSETS], ids="".join)
def test_the_layer_gives_what_the_matrices_say(targets, rebases):
    layer = tuned(*targets).blocks[0].attn.qkv
    branches = {"qkv": layer} if targets == ("qkv",) else {t: getattr(layer, t) for t in targets}
    change = {name: np.zeros((64, 64)) for name in THIRDS} if "qkv" not in targets else {}
    for name, branch in branches.items():
        change[name] = 3 * product(branch)
        for _ in range(rebases):
            branch.rebase(lambda matrix: matrix)
            nn.init.normal_(branch.B.weight)
            change[name] = change[name] + 3 * product(branch)
    weight = array(layer.base.weight) + np.concatenate(list(change.values()))
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    expected = array(x) @ weight.T + array(layer.base.bias)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("qk_norm", [False, True], ids=["plain_qk", "qk_norm"])
@pytest.mark.parametrize("targets", SUBSETS, ids="".join)
def test_attention_receives_the_chosen_thirds_changed_and_the_others_to_the_bit(targets, qk_norm):
    model, bare = tuned(*targets, qk_norm=qk_norm), small_vit(qk_norm=qk_norm)
    assert not torch.equal(model(images(2, seed=0)), bare(images(2, seed=0)))
    attention, before = model.blocks[0].attn, bare.blocks[0].attn
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    pairs = zip(attention.qkv(x).chunk(3, -1), before.qkv(x).chunk(3, -1), strict=True)
    changed = {name for name, pair in zip(THIRDS, pairs, strict=True) if not torch.equal(*pair)}
    assert changed == set(targets)


def test_each_third_has_an_a_and_a_b_of_its_own_beside_other_layers():
    model = small_vit()
    attach(model, LoRA(2, targets=("v", "k", "fc1"), blocks=[1]))
    shapes = {name: tuple(p.shape) for name, p in trainable_tensors(model).items()}
    assert shapes == {
        "blocks.1.attn.qkv.k.A.weight": (2, 64),
        "blocks.1.attn.qkv.k.B.weight": (64, 2),
        "blocks.1.attn.qkv.v.A.weight": (2, 64),
        "blocks.1.attn.qkv.v.B.weight": (64, 2),
        "blocks.1.mlp.fc1.A.weight": (2, 64),
        "blocks.1.mlp.fc1.B.weight": (192, 2),
        "head.weight": (6, 64),
        "head.bias": (6,),
    }


@pytest.mark.parametrize("targets", [("qkv", "fc2"), ("k", "v", "fc2")], ids="+".join)
def test_a_merged_lora_gives_the_same_output_without_it(targets):
    model, x = tuned(*targets), images(2, seed=0)
    before = model(x)
    attachment_of(model).merge()
    torch.testing.assert_close(model(x), before)
    assert attachment_of(model) is None


def test_only_lora_can_be_merged():
    handle = attach(small_vit(), LoRA(2), Adapter(2))
    with pytest.raises(RuntimeError, match="Adapter attached: only LoRA can be merged"):
        handle.merge()


class TestBadInput:
    @pytest.mark.parametrize("third", THIRDS)
    def test_a_whole_layer_and_a_third_of_it_are_refused(self, third):
        with pytest.raises(ValueError, match=r"LoRA.targets=.*qkv is q, k and v in one; give qkv"):
            LoRA(2, targets=("qkv", third))

    @pytest.mark.parametrize(
        ("first", "second", "found"),
        [("qkv", "qkv", "LoRALinear"), ("qkv", "k", "LoRALinear"), ("k", "v", "LoRAThirds")],
    )
    def test_two_loras_on_one_layer_are_refused(self, first, second, found):
        with pytest.raises(TypeError, match=rf"blocks.0.attn.qkv is {found}"):
            attach(small_vit(), LoRA(2, targets=first), LoRA(3, targets=second))

    def test_a_third_is_as_wide_as_its_own_outputs(self):
        model = small_vit()
        for block in model.blocks:
            block.attn.qkv = nn.Linear(64, 96)
        with pytest.raises(ValueError, match="LoRA.rank=33 is above the width 32 of blocks.0.attn"):
            attach(model, LoRA(33, targets="k"))
        attach(model, LoRA(33))

    def test_outputs_that_are_no_three_thirds_are_refused(self):
        model = small_vit()
        model.blocks[1].attn.qkv = nn.Linear(64, 100)
        with pytest.raises(TypeError, match="blocks.1.attn.qkv has 100 outputs: queries, keys and"):
            attach(model, LoRA(2, targets=("k", "v")))
        assert attachment_of(model) is None
