"""The linear adapter behind a CLIP tower (CLIP-Adapter, Gao et al., 2021, arXiv 2110.04544)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from torch import nn

from avl_pegp.pet.adapter import ParallelAdapter
from avl_pegp.pet.config import require_positive, require_scale, settle_place
from avl_pegp.pet.towers import Features, Tower


@dataclass(frozen=True)
class LinearAdapter:
    """A bottleneck on the features that a tower gives: ``y = f + s (W_up σ(W_dn f + b_dn) + b_up)``.

    ::

        tower ── f ──┬───────────────────────────────┐
                     └── W_dn, b_dn ── σ ── W_up · s ─+── y / ‖y‖      σ = GELU

    CLIP-Adapter mixes ``α A(f) + (1 − α) f``; as features are scaled to unit length, that is this
    one with ``s = α / (1 − α)``: its α of 0.2 is a scale of 0.25. Its σ is ReLU, and it has no biases.
    ``W_up`` starts at zero, so attaching leaves the output as it was.

    Args:
        bottleneck: r, the inner width.
        scale: s, a fixed number.
        tower: whose features, ``"image"`` or ``"text"``.

    Raises:
        ValueError: a field outside its range; at ``attach``, one given twice.

    Example:
        >>> LinearAdapter(bottleneck=16).tower
        'image'
    """

    bottleneck: int
    scale: float = 1.0
    tower: str = "image"
    depth: ClassVar[int] = 4
    blocks: ClassVar[None] = None

    def __post_init__(self) -> None:
        require_positive(self, bottleneck=self.bottleneck)
        require_scale(self, self.scale)
        settle_place(self, self.tower, self.blocks)

    def install(self, tower: Tower) -> None:
        """Put a ``ParallelAdapter`` in the place where features leave the tower."""
        if tower.plan.features is None:
            raise TypeError(
                f"LinearAdapter on a {type(tower.model).__name__}: it stands on the features of a CLIP "
                "model; use Adapter, or a model of create_clip"
            )
        tower.replace_at(tower.plan.features, lambda place: self._on(place, tower))

    def _on(self, place: nn.Module, tower: Tower) -> nn.Module:
        if isinstance(place, ParallelAdapter):
            raise ValueError(
                f"{tower.plan.features} already has an adapter: give one LinearAdapter for each tower"
            )
        like = tower.like().new_empty(cast(Features, place).width)
        return ParallelAdapter(place, like, self.bottleneck, self.scale)
