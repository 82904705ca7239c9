"""Attention with learned keys and values beside the tokens' own: where prefix and prompt live.

A learned tensor is read by the fused attention in training. It is *called*, as the weight of a small
module, only while someone observes that module: then, and only then, an attention matrix is formed.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.forms import READABLE, finished, is_readable, read
from avl_pegp.pet.fused import attend
from avl_pegp.pet.towers import Tower


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
    """Attention of a known form whose queries also attend to learned keys and values.

    ::

        keys   = [learned (L) | own (N)]
        values = [learned (L) | own (N)]      softmax(q keysᵀ / √d_h + bias) values

    Learned keys have no place among the tokens: they enter after any k-norm and rotation, and with no
    bias of positions. Shapes: ``(B, N, C)`` → ``(B, N, C)``.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.tokens = nn.ModuleDict()

    def forward(
        self,
        x: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        rope: Tensor | None = None,
        shared_rel_pos: Tensor | None = None,
        shared_rel_pos_bias: Tensor | None = None,
    ) -> Tensor:
        """The arguments are those of every form; each gets its own."""
        base: Any = self.base
        B, N, _ = x.shape
        shared = shared_rel_pos if shared_rel_pos is not None else shared_rel_pos_bias
        own = read(base, x, attn_mask, is_causal, rope, shared)

        learned = cast(list[LearnedTokens], list(self.tokens.values()))
        pairs = [tokens.keys_values(base) for tokens in learned]
        lengths = [keys.shape[-2] for keys, _ in pairs]
        k = torch.cat([keys.expand(B, -1, -1, -1) for keys, _ in pairs] + [own.k], dim=2)
        v = torch.cat([values.expand(B, -1, -1, -1) for _, values in pairs] + [own.v], dim=2)
        bias = None if own.bias is None else F.pad(own.bias, (sum(lengths), 0))

        if is_observed(self.tokens):
            # Without a trace for autograd: a checkpointed block is computed anew without it.
            with torch.no_grad():
                scores = (own.q * base.scale) @ k.mT
                scores = scores if bias is None else scores + bias
                masses = scores.softmax(-1).split([*lengths, N], -1)
                for tokens, mass in zip(learned, masses, strict=False):
                    tokens.observe(base, own.q, mass)

        return finished(base, x, attend(base, own.q, k, v, bias))


def attention_with_tokens(tower: Tower, i: int, place: str, kind: str) -> TokenAttention:
    """An attention of block i, made able to take learned tokens of this kind.

    Raises:
        TypeError: the attention is of no form that can be read.
        ValueError: it already has tokens of this kind.
    """
    attention, path = tower.find(i, place), tower.path(i, place)
    if isinstance(attention, TokenAttention):
        if kind in attention.tokens:
            raise ValueError(f"{path} already has a {kind}: give one {kind} for each block")
        return attention
    if attention is None or not is_readable(attention):
        found = "nothing" if attention is None else type(attention).__name__
        raise TypeError(f"{path} is {found}: a {kind} needs {READABLE}")
    wrapped = TokenAttention(attention)
    tower.put(i, place, wrapped)
    return wrapped
