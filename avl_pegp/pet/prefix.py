"""Prefix tuning (Li and Liang, 2021, arXiv 2101.00190), per-head keys and values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from avl_pegp.pet.attention import add_tokens
from avl_pegp.pet.attention_forms import frozen_linear
from avl_pegp.pet.config import settle_fields
from avl_pegp.pet.learned import HeadLinear, drawn
from avl_pegp.pet.towers import Tower


@dataclass(frozen=True)
class Prefix:
    """L learned keys and values for each head: ``softmax(q [K_p | K]ᵀ / √d_h) [V_p | V]``.

    ::

        q ──┬── K_p (H, L, d_h) ──┐
            └── K   (H, N, d_h) ──┴─ softmax ──┬── V_p (H, L, d_h)
                                               └── V   (H, N, d_h)

    The keys enter after any k-norm and rotation, without a bias of positions. Attaching changes the
    model's output a little.

    Args:
        length: L, the number of keys and values for each head.
        blocks: indices of the blocks to change, ``None`` for all.
        tower: ``"image"``, or ``"text"`` of a CLIP model.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> Prefix(length=10).blocks is None
        True
    """

    length: int
    blocks: tuple[int, ...] | Iterable[int] | None = None
    tower: str = "image"
    depth: ClassVar[int] = 1

    def __post_init__(self) -> None:
        settle_fields(self)

    def install(self, tower: Tower) -> None:
        """Give every chosen block's attention a ``PrefixTokens``."""
        add_tokens(tower, self, "prefix", PrefixTokens)


class PrefixTokens(nn.Module):
    """Keys, contracted with queries, and values, contracted with the attention mass on them."""

    def __init__(self, attention: Any, length: int) -> None:
        super().__init__()
        heads, like = attention.num_heads, frozen_linear(attention.proj).weight
        head_dim = like.shape[1] // heads
        self.keys = HeadLinear(drawn(like, heads, length, head_dim))
        self.values = HeadLinear(drawn(like, heads, head_dim, length))  # transposed

    def keys_values(self, attention: Any) -> tuple[Tensor, Tensor]:
        return self.keys.weight, self.values.weight.mT

    def observe(self, attention: Any, queries: Tensor, mass: Tensor) -> None:
        self.keys(queries)
        self.values(mass)
