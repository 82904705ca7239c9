"""Prompts: deep ones with an exact condition, and the papers' input tokens (arXiv 2203.12119)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.pet.attention import add_tokens
from avl_pegp.pet.attention_forms import frozen_maps
from avl_pegp.pet.config import settle_fields
from avl_pegp.pet.learned import LearnedRows, drawn
from avl_pegp.pet.sequence import require_any_tokens, show_own_tokens
from avl_pegp.pet.towers import Tower


@dataclass(frozen=True)
class Prompt:
    """L learned tokens that every query can attend to.

    ``deep=True`` (exact): a set R (L, C) for each block, standing after the block's LayerNorm. Its
    keys are ``R W_k,h + b_k`` and its values ``R W_v,h + b_v`` through the *frozen* projection,
    never through a LoRA; the keys skip any k-norm and rotation, and have no bias of positions.

    ::

        R ──┬── W_k,h ── keys   ──┐
            └── W_v,h ── values ──┴── beside the tokens' own in every head

    ``deep=False`` (approximate): L tokens p (L, C) join the sequence before the first of ``blocks``
    and leave after the last. The condition drops second-order terms, softmax, LayerNorm and every
    later block, so old outputs are only nearly kept. Between those blocks the sequence has L tokens
    more, behind the model's own; ``forward_intermediates`` shows its own alone.

    Attaching changes the model's output.

    Args:
        length: L, the number of tokens.
        blocks: indices of the blocks, ``None`` for all; consecutive where ``deep=False``.
        deep: one set for each block (exact), or input tokens (approximate).
        tower: ``"image"``, or ``"text"`` of a CLIP model, there with ``deep=True`` alone.

    Raises:
        ValueError: a field outside its range.
        TypeError: at ``attach``, attention that can't be read; with ``deep=False`` blocks that know
            their tokens by positions.

    Example:
        >>> Prompt(length=5, blocks=(1, 0)).blocks
        (0, 1)
    """

    length: int
    blocks: tuple[int, ...] | Iterable[int] | None = None
    deep: bool = True
    tower: str = "image"

    @property
    def depth(self) -> int:
        """Deep prompts live in the attention, input tokens around whole blocks."""
        return 1 if self.deep else 3

    def __post_init__(self) -> None:
        settle_fields(self)
        if self.tower == "text" and not self.deep:
            raise ValueError(
                "Prompt.deep=False with tower='text': tokens at the end of a text are never seen by "
                "those before; use deep=True, or a Context"
            )

    def install(self, tower: Tower) -> None:
        """Give the chosen blocks their prompt."""
        if self.deep:
            add_tokens(tower, self, "prompt", PromptRows)
            return
        indices = tower.indices(self)
        first, last = indices[0], indices[-1]
        if indices != list(range(first, last + 1)):
            raise ValueError(
                f"Prompt.blocks={tuple(indices)} with deep=False: must be consecutive, as input "
                "tokens flow from the first block to the last"
            )
        for i in indices:
            require_any_tokens(tower, i, self.length)
        show_own_tokens(tower)
        like = tower.like()
        tokens = LearnedRows(drawn(like, self.length, like.numel()))
        tower.put_block(last, TokensLeave(tower.blocks[last], self.length))
        tower.put_block(first, TokensEnter(tower.blocks[first], tokens))


class PromptRows(LearnedRows):
    """R (L, C), contracted over C with ``q_h W_k,h`` and, through ``mass``, over L with the mass."""

    def __init__(self, attention: Any, length: int) -> None:
        (like, _), _ = frozen_maps(attention)
        super().__init__(drawn(like, length, like.shape[-1]))
        self.mass = _MassSide(self)

    def keys_values(self, attention: Any) -> tuple[Tensor, Tensor]:
        keys, values = (  # (H, L, d_h)
            self.weight @ w.mT if b is None else self.weight @ w.mT + b[:, None]
            for w, b in frozen_maps(attention)
        )
        return keys, values

    def observe(self, attention: Any, queries: Tensor, mass: Tensor) -> None:
        (w_keys, _), _ = frozen_maps(attention)
        self(queries @ w_keys)
        self.mass(mass)


class _MassSide(nn.Module):
    """The other side of the same R: called with the attention mass, contracted over L."""

    contracted_dim = -2

    def __init__(self, rows: PromptRows) -> None:
        super().__init__()
        self._rows = (rows,)  # in a tuple, or the parent would become its own child's child

    @property
    def weight(self) -> nn.Parameter:
        return self._rows[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """``(..., L)`` → ``(..., C)``."""
        return x @ self.weight


class TokensEnter(nn.Module):
    """The block before which input tokens join the sequence, at its end."""

    def __init__(self, base: nn.Module, tokens: LearnedRows) -> None:
        super().__init__()
        self.base = base
        self.prompt = tokens

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if any(given is not None and given is not False for given in (*args, *kwargs.values())):
            raise ValueError(
                "attn_mask or is_causal is given, but does not cover the tokens that "
                "Prompt(deep=False) adds: use Prompt(deep=True)"
            )
        x = torch.cat([x, self.prompt.weight.expand(len(x), -1, -1)], dim=1)
        self.prompt.show(x)
        y: Tensor = self.base(x)
        return y


class TokensLeave(nn.Module):
    """The block after which the input tokens leave the sequence."""

    def __init__(self, base: nn.Module, length: int) -> None:
        super().__init__()
        self.base = base
        self.length = length

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y: Tensor = self.base(x, *args, **kwargs)
        return y[:, : -self.length]
