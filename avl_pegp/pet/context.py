"""Learned context of class prompts in a text tower (CoOp, Zhou et al., 2022, arXiv 2109.01134)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.config import settle_fields
from avl_pegp.pet.learned import LearnedRows
from avl_pegp.pet.restart import KeepsEarlier
from avl_pegp.pet.towers import Tower


@dataclass(frozen=True)
class Context:
    """L learned token vectors that stand before a class name, in the place of the template's words.

    ::

        template   <start>  a    photo  of   a     red    fox  .  <end>
        context    <start>  p_1  p_2    p_3  p_4   red    fox  .  <end>       p (L, C)

    They begin as the template's words, the last L of them, so that a length of as many leaves the
    model's answers as they were; what is longer begins small and random in front. Other texts than
    class prompts are not touched.

    The condition on p is approximate: ``x Δpᵀ = 0`` for the rows x of the first block, tokens with
    their positions, those of p among them. The vectors are queries too and flow through causal
    attention, which it drops.

    Args:
        length: L.

    Raises:
        ValueError: ``length`` is not at least 1; at ``attach``, more than the context has room for.
        TypeError: at ``attach``, no text tower with causal attention and open_clip's tokenizer.

    Example:
        >>> Context(length=4).tower
        'text'
    """

    length: int
    tower: ClassVar[str] = "text"
    depth: ClassVar[int] = 4
    blocks: ClassVar[None] = None

    def __post_init__(self) -> None:
        settle_fields(self)

    def install(self, tower: Tower) -> None:
        """Put a ``ContextEmbedding`` before the tower, and have its first block's rows watched."""
        path, opening, room = tower.plan.embedding, tower.plan.opening, tower.plan.room
        if path is None or opening is None:
            raise TypeError(
                f"Context on a {type(tower.model).__name__}: it needs a text tower with causal "
                "attention and open_clip's own tokenizer; use LoRA or Adapter with tower='text'"
            )
        if self.length > room:
            raise ValueError(
                f"Context.length={self.length}: beside the longest class name there is room for {room} "
                "tokens; take at most as many, or shorter names"
            )
        embedding = tower.model.get_submodule(path)
        if isinstance(embedding, ContextEmbedding):
            raise ValueError("the text tower already has a Context: give one")
        words = embedding(opening.to(tower.like().device))[-self.length :].detach()
        drawn = 0.02 * torch.randn(self.length - len(words), words.shape[1]).to(words)
        start = torch.cat([drawn, words])
        learned = ContextEmbedding(embedding, start)
        tower.put_at(path, learned)
        tower.put_block(0, WatchedBlock(tower.blocks[0], learned.vectors))


class ContextEmbedding(KeepsEarlier):
    """Token numbers ``(B, N)`` → tokens ``(B, N, C)``; a number below 0 stands for a learned vector.

    Context k, vector j is ``−1 − (k L + j)``: 0 is the context that is trained, and those from 1 on
    were settled. ``fillers`` gives the numbers for a class.

    Attributes:
        growing: those to which more is added, without a change of what is there.
        vectors: the context that is trained.
        settled: ``(K, L, C)``, earlier ones, ``None`` before the first.
        owners: for each class the context that is its own, 0 where none was settled for it.
    """

    earlier = ("settled", "owners")
    whole = ("owners",)
    growing: ClassVar[tuple[str, ...]] = ("settled",)
    settled: Tensor | None
    owners: Tensor | None
    start: Tensor

    def __init__(self, base: nn.Module, start: Tensor) -> None:
        super().__init__()
        self.base = base
        self.vectors = LearnedRows(start)
        self.register_buffer("start", start.clone(), persistent=False)

    @property
    def length(self) -> int:
        """L."""
        return len(self.start)

    def forward(self, tokens: Tensor) -> Tensor:
        contexts = self.vectors.weight[None]
        if self.settled is not None:
            contexts = torch.cat([contexts, self.settled])
        learned = contexts.flatten(0, 1)[(-1 - tokens).clamp(min=0)]
        words: Tensor = self.base(tokens.clamp(min=0))
        return torch.where(tokens[..., None] < 0, learned, words)

    def fillers(self, classes: Collection[int]) -> Tensor:
        """Token numbers of each class's context, ``(len(classes), L)``."""
        first = self._owners_of(classes)[list(classes), None] * self.length
        return -1 - (first + torch.arange(self.length))

    @torch.no_grad()
    def settle(self, classes: Collection[int]) -> None:
        """Give the context as it is now to these classes for good, and start another.

        Classes that have one keep it.

        Args:
            classes: at least one.
        """
        owners = self._owners_of(classes)
        new = [c for c in classes if owners[c] == 0]
        if new:
            now = self.vectors.weight[None].clone()
            self.settled = now if self.settled is None else torch.cat([self.settled, now])
            owners[new] = len(self.settled)
            self.owners = owners.to(now.device)
        self.vectors.weight.copy_(self.start)

    def _owners_of(self, classes: Collection[int]) -> Tensor:
        """``owners`` with room for these classes."""
        known = torch.zeros(0, dtype=torch.long) if self.owners is None else self.owners.cpu()
        return F.pad(known, (0, max(0, max(classes, default=0) + 1 - len(known))))

    def misfit(self) -> str:
        return (
            f"must be settled (K, {self.length}, {self.start.shape[1]}) and owners; load what was saved "
            "from the same Context"
        )

    @property
    def like(self) -> Tensor:
        return self.vectors.weight

    def fits(self, *earlier: Tensor) -> bool:
        """Whether they are ``(K, L, C)``, and for each class one of K, or 0."""
        settled, owners = earlier
        if owners.dim() != 1 or owners.dtype != torch.long:
            return False
        count = max(owners.tolist(), default=0)
        return settled.shape == (count, *self.start.shape)


class WatchedBlock(nn.Module):
    """The first block, whose rows are what a context's condition is about."""

    def __init__(self, base: nn.Module, vectors: LearnedRows) -> None:
        super().__init__()
        self.base = base
        self._vectors = (vectors,)  # in a tuple: its place in the model is the embedding

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._vectors[0].show(x)
        y: Tensor = self.base(x, *args, **kwargs)
        return y
