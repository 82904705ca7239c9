"""Adapters: beside a branch (He et al., 2022, arXiv 2110.04366; AdaptFormer, arXiv 2205.13535), and
behind a CLIP tower (CLIP-Adapter, Gao et al., 2021, arXiv 2110.04544).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.config import settle_fields
from avl_pegp.pet.restart import Rebasable
from avl_pegp.pet.towers import Features, Tower

_BRANCHES = {"mlp": ("mlp", "norm2"), "attention": ("attn", "norm1")}


@dataclass(frozen=True)
class Adapter:
    """A bottleneck beside a branch: ``y = f(x) + s (W_up σ(W_dn x + b_dn) + b_up)``, σ = GELU.

    ::

              ┌──── f (frozen MLP or attention) ────┐
        x ────┤                                     + ── y
              └── W_dn, b_dn ── σ ── W_up, b_up · s ┘

    ``x`` is what the branch itself receives, the block's normalised tokens. The sum is taken before
    the block's LayerScale, where it has one. ``W_up`` and ``b_up`` start at zero, so attaching
    leaves the model's output as it was: to the bit in timm's models, in open_clip's but for rounding.
    The scale is fixed: a learned one would have no exact condition.

    Args:
        bottleneck: r, the inner width.
        parallel_to: the branch to stand beside, ``mlp`` or ``attention``.
        scale: s, a fixed number.
        blocks: indices of the blocks to change, ``None`` for all.
        tower: ``"image"``, or ``"text"`` of a CLIP model.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> Adapter(bottleneck=8, parallel_to="attention").scale
        1.0
    """

    bottleneck: int
    parallel_to: str = "mlp"
    scale: float = 1.0
    blocks: tuple[int, ...] | Iterable[int] | None = None
    tower: str = "image"
    depth: ClassVar[int] = 2

    def __post_init__(self) -> None:
        settle_fields(self)
        if self.parallel_to not in _BRANCHES:
            raise ValueError(
                f"Adapter.parallel_to={self.parallel_to!r}: must be one of {', '.join(_BRANCHES)}"
            )

    def install(self, tower: Tower) -> None:
        """Put a ``ParallelAdapter`` in the place of every chosen branch."""
        name, norm_name = _BRANCHES[self.parallel_to]
        for i in tower.indices(self):
            norms, places = tower.places(i, norm_name), tower.places(i, name)
            for norm, place in zip(norms, places, strict=True):
                branch, path = tower.find(i, place), tower.path(i, place)
                like = getattr(tower.find(i, norm), "weight", None)
                if branch is None or like is None:
                    raise TypeError(
                        f"Adapter.parallel_to={self.parallel_to!r}, but {path} is not there, or there "
                        f"is no norm with weights before it ({type(tower.blocks[i]).__name__})"
                    )
                if isinstance(branch, ParallelAdapter):
                    raise ValueError(
                        f"{path} already has an adapter: give one Adapter for each branch"
                    )
                tower.put(i, place, ParallelAdapter(branch, like, self.bottleneck, self.scale))


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
        settle_fields(self)

    def install(self, tower: Tower) -> None:
        """Put a ``ParallelAdapter`` in the place where features leave the tower."""
        path = tower.plan.features
        if path is None:
            raise TypeError(
                f"LinearAdapter on a {type(tower.model).__name__}: it stands on the features of a CLIP "
                "model; use Adapter, or a model of create_clip"
            )
        place = tower.model.get_submodule(path)
        if isinstance(place, ParallelAdapter):
            raise ValueError(
                f"{path} already has an adapter: give one LinearAdapter for each tower"
            )
        like = tower.like().new_empty(cast(Features, place).width)
        tower.put_at(path, ParallelAdapter(place, like, self.bottleneck, self.scale))


class ParallelAdapter(Rebasable):
    """A frozen branch and its adapter; ``(..., C)`` → ``(..., C)``.

    Restarts leave adapters of K inner units in all, K a multiple of r: ``earlier_down`` (K, C + 1) is
    their ``[W_dn b_dn]`` one below the other, ``earlier_up`` (C, K + 1) their W_up side by side and
    the sum of their b_up. Both are ``None`` before the first.
    """

    first, second, earlier = "down", "up", ("earlier_down", "earlier_up")
    earlier_down: Tensor | None
    earlier_up: Tensor | None

    def __init__(self, base: nn.Module, like: Tensor, bottleneck: int, scale: float) -> None:
        super().__init__()
        width = like.numel()
        place: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        self.base = base
        self.scale = scale
        self.down = nn.Linear(width, bottleneck, **place)
        self.up = nn.Linear(bottleneck, width, **place)
        self.start_branch(self.fresh_matrix())

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Masks and other arguments of the branch pass through to it."""
        y: Tensor = self.base(x, *args, **kwargs)
        change: Tensor = self.up(F.gelu(self.down(x)))
        if self.earlier_down is not None and self.earlier_up is not None:
            hidden = F.gelu(_affine(x, self.earlier_down))
            change = change + _affine(hidden, self.earlier_up)
        return y + self.scale * change

    def keep_branch(self) -> None:
        """Append ``[W_dn b_dn]`` and W_up to the earlier ones, and add b_up to theirs."""
        down = torch.cat([self.down.weight, self.down.bias[:, None]], dim=1)
        up, bias = self.up.weight, self.up.bias[:, None]
        if self.earlier_down is not None and self.earlier_up is not None:
            down = torch.cat([self.earlier_down, down])
            up = torch.cat([self.earlier_up[:, :-1], up], dim=1)
            bias = self.earlier_up[:, -1:] + bias
        self.earlier_down, self.earlier_up = down, torch.cat([up, bias], dim=1)

    def fits(self, *earlier: Tensor) -> bool:
        """Whether they are ``(K, C + 1)`` and ``(C, K + 1)``."""
        down, up = earlier
        width = self.down.in_features
        units = down.numel() // (width + 1)
        return down.shape == (units, width + 1) and up.shape == (width, units + 1)

    def extra_repr(self) -> str:
        return f"bottleneck={self.down.out_features}, scale={self.scale:g}"


def _affine(x: Tensor, matrix: Tensor) -> Tensor:
    """``W x + b`` for ``[W b]``."""
    return F.linear(x, matrix[:, :-1], matrix[:, -1])
