"""``FusedAttention`` against the ``nn.MultiheadAttention`` that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avl_pegp.pet.fused import AsMultihead, is_plain_multihead

B, N, WIDTH, HEADS = 3, 5, 12, 4
CAUSAL = torch.full((N, N), float("-inf"), dtype=torch.float64).triu(1)
SCORES = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MASKS = {
    "none": None,
    "causal": CAUSAL,
    "added scores": SCORES,
    "one for each image and head": torch.stack([CAUSAL + k * SCORES for k in range(B * HEADS)]),
    "true is hidden": CAUSAL.bool(),
    "true is hidden, for each": CAUSAL.bool().repeat(B * HEADS, 1, 1),
}
STRANGE = {
    "tokens second": {"batch_first": False},
    "keys of another width": {"kdim": 8, "vdim": 8},
    "learned bias tokens": {"add_bias_kv": True},
    "a zero token": {"add_zero_attn": True},
}


def attention(**options):
    torch.manual_seed(0)
    base = nn.MultiheadAttention(WIDTH, HEADS, **{"batch_first": True, **options}).double()
    for tensor in base.parameters():
        nn.init.normal_(tensor, std=0.5)
    return base


def tokens():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(B, N, WIDTH, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", MASKS)
def test_it_gives_what_multihead_attention_gives_and_the_same_gradients(mask, bias):
    base, x = attention(bias=bias), tokens()
    both = []
    for module in (base, AsMultihead(base)):
        y, weights = module(x, x, x, need_weights=False, attn_mask=MASKS[mask])
        assert weights is None
        both.append((y, *torch.autograd.grad(y.square().sum(), list(base.parameters()))))
    torch.testing.assert_close(both[1], both[0], rtol=0, atol=1e-10)


def test_its_tensors_are_those_of_the_module_itself():
    base = attention()
    fused = AsMultihead(base).fused
    assert fused.qkv.weight is base.in_proj_weight
    assert fused.qkv.bias is base.in_proj_bias
    assert fused.proj.weight is base.out_proj.weight
    assert fused.proj.bias is base.out_proj.bias


def test_its_parts_are_timms():
    from timm.layers import Attention

    theirs = {name for name, _ in Attention(WIDTH, HEADS).named_children()}
    fused = AsMultihead(attention()).fused
    assert {name for name, _ in fused.named_children()} == theirs
    assert (fused.num_heads, fused.scale) == (HEADS, (WIDTH // HEADS) ** -0.5)


def test_dropout_is_that_of_the_module_and_only_in_training():
    base, x = attention(dropout=0.5), tokens()
    fused = AsMultihead(base)
    dropped = [fused.train()(x, x, x)[0] for _ in range(2)]
    assert not torch.equal(*dropped)
    kept = fused.eval()(x, x, x)[0]
    torch.testing.assert_close(kept, base.eval()(x, x, x, need_weights=False)[0])


def test_cross_attention_is_refused():
    fused, x = AsMultihead(attention()), tokens()
    with pytest.raises(ValueError, match="PETs need self-attention"):
        fused(x, x.clone(), x)


def test_only_what_it_computes_counts_as_plain():
    assert is_plain_multihead(attention())
    assert not is_plain_multihead(nn.Linear(2, 2))
    assert not is_plain_multihead(type("Mine", (nn.MultiheadAttention,), {})(WIDTH, HEADS))


@pytest.mark.parametrize("kind", STRANGE)
def test_other_forms_are_not_plain(kind):
    assert not is_plain_multihead(attention(**STRANGE[kind]))
