"""Attention with learned keys and values beside the tokens' own: where prefix and prompt live.

A learned tensor is read by the fused attention in training. It is *called*, as the weight of a small
module, only while someone observes that module: then, and only then, an attention matrix is formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.attention_forms import READABLE, Scores, attend, finished, is_readable, read
from avl_pegp.pet.learned import is_observed
from avl_pegp.pet.towers import Tower


class LearnedTokens(Protocol):
    """L keys and values for each head, and the features that their tensors are contracted with."""

    def keys_values(self, attention: Any) -> tuple[Tensor, Tensor]:
        """Two tensors ``(H, L, d_h)``."""

    def observe(self, attention: Any, queries: Tensor, mass: Tensor) -> None:
        """Call the modules with queries ``(B, H, N, d_h)`` and attention mass ``(B, H, N, L)``."""


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

        return finished(base, x, attend(base, Scores(own.q, k, v, bias)))


def add_tokens(
    tower: Tower, pet: Any, kind: str, make: Callable[[nn.Module, int], nn.Module]
) -> None:
    """Give the attention of every block that a PET names its learned tokens.

    Args:
        tower: where the blocks are.
        pet: with ``blocks`` and ``length``.
        kind: name of the tokens; one attention has one of each.
        make: ``make(attention, length)``, of ``LearnedTokens``.

    Raises:
        TypeError: the attention is of no form that can be read.
        ValueError: it already has tokens of this kind.
    """
    for i in tower.indices(pet):
        for place in tower.places(i, "attn"):
            attention, path = tower.find(i, place), tower.path(i, place)
            if not isinstance(attention, TokenAttention):
                if attention is None or not is_readable(attention):
                    found = "nothing" if attention is None else type(attention).__name__
                    raise TypeError(f"{path} is {found}: a {kind} needs {READABLE}")
                attention = TokenAttention(attention)
                tower.put(i, place, attention)
            if kind in attention.tokens:
                raise ValueError(f"{path} already has a {kind}: give one {kind} for each block")
            attention.tokens[kind] = make(attention.base, pet.length)
