"""Attention with learned keys and values beside the tokens' own: where prefix and prompt live.

A learned tensor is read by the fused attention in training. It is *called*, as the weight of a small
module, only while someone observes that module: then, and only then, an attention matrix is formed.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.fused import attend, split_heads
from avl_pegp.pet.towers import Tower

_KNOWN_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "gate", "proj", "proj_drop"}


class LearnedTokens(Protocol):
    """L keys and values for each head, and the features that their tensors are contracted with."""

    def keys_values(self, attention: Any) -> tuple[Tensor, Tensor]:
        """Two tensors ``(H, L, d_h)``."""

    def observe(self, attention: Any, queries: Tensor, mass: Tensor) -> None:
        """Call the modules with queries ``(B, H, N, d_h)`` and attention mass ``(B, H, N, L)``."""


class HeadLinear(nn.Module):
    """A bias-free linear map for each head: ``(B, H, N, in)`` → ``(B, H, N, out)``.

    The weight is ``(H, out, in)``; input and weight are contracted over their last axes.
    """

    contracted_dim = -1

    def __init__(self, heads: int, in_features: int, out_features: int, like: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.new_empty(heads, out_features, in_features))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT

    def extra_repr(self) -> str:
        heads, out_features, in_features = self.weight.shape
        return f"heads={heads}, in_features={in_features}, out_features={out_features}"


def is_observed(module: nn.Module) -> bool:
    """Whether a forward hook waits on the module or on a part of it."""
    return any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())


class TokenAttention(nn.Module):
    """timm's ``Attention`` whose queries also attend to learned keys and values.

    ::

        keys   = [learned (L) | own (N)]
        values = [learned (L) | own (N)]      softmax(q keysᵀ / √d_h) values

    Learned keys enter after any k-norm. Shapes: ``(B, N, C)`` → ``(B, N, C)``.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.tokens = nn.ModuleDict()

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        base: Any = self.base
        B, N, _ = x.shape
        q, k, v = split_heads(base, x)
        q, k = base.q_norm(q), base.k_norm(k)

        learned = cast(list[LearnedTokens], list(self.tokens.values()))
        pairs = [tokens.keys_values(base) for tokens in learned]
        lengths = [keys.shape[-2] for keys, _ in pairs]
        k = torch.cat([keys.expand(B, -1, -1, -1) for keys, _ in pairs] + [k], dim=2)
        v = torch.cat([values.expand(B, -1, -1, -1) for _, values in pairs] + [v], dim=2)
        mask = _widen(attn_mask, is_causal, N, sum(lengths), q)

        if is_observed(self.tokens):
            # Without a trace for autograd: a checkpointed block is computed anew without it.
            with torch.no_grad():
                scores = (q * base.scale) @ k.mT
                scores = scores if mask is None else scores + mask
                masses = scores.softmax(-1).split([*lengths, N], -1)
                for tokens, mass in zip(learned, masses, strict=False):
                    tokens.observe(base, q, mass)

        y = base.norm(attend(base, q, k, v, mask))
        gate = getattr(base, "gate", None)  # only newer versions of timm have one
        if gate is not None:
            y = y * gate(x).sigmoid()
        out: Tensor = base.proj_drop(base.proj(y))
        return out


def _widen(
    mask: Tensor | None, is_causal: bool, tokens: int, learned: int, like: Tensor
) -> Tensor | None:
    """An additive mask over own keys, widened by learned keys that every query may see."""
    if is_causal:
        mask = like.new_full((tokens, tokens), float("-inf")).triu(1)
    elif mask is None:
        return None
    elif mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, float("-inf"))
    return F.pad(mask, (learned, 0))


def attention_with_tokens(tower: Tower, i: int, kind: str) -> TokenAttention:
    """The attention of block i, made able to take learned tokens of this kind.

    Raises:
        TypeError: the attention is not timm's fused ``Attention``, or open_clip's multi-head one.
        ValueError: it already has tokens of this kind.
    """
    attention, path = tower.find(i, "attn"), tower.path(i, "attn")
    if isinstance(attention, TokenAttention):
        if kind in attention.tokens:
            raise ValueError(f"{path} already has a {kind}: give one {kind} for each block")
        return attention
    if attention is None or not _is_plain_attention(attention):
        found = "nothing" if attention is None else type(attention).__name__
        raise TypeError(
            f"{path} is {found}: a {kind} needs timm's Attention with a fused qkv projection and no "
            "rotary or differential scores, or open_clip's nn.MultiheadAttention"
        )
    wrapped = TokenAttention(attention)
    tower.put(i, "attn", wrapped)
    return wrapped


def _is_plain_attention(attention: nn.Module) -> bool:
    """Whether ``TokenAttention`` computes what the module does: same parts, same arguments."""
    parts = {name for name, _ in attention.named_children()}
    arguments = set(inspect.signature(attention.forward).parameters)
    return (
        {"qkv", "q_norm", "k_norm", "norm", "proj"} <= parts <= _KNOWN_PARTS
        and arguments <= {"x", "attn_mask", "is_causal"}
        and not list(attention.parameters(recurse=False))
    )
