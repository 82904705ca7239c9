"""LoRA (Hu et al., 2022, arXiv 2106.09685)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.config import settle_fields
from avl_pegp.pet.restart import Rebasable
from avl_pegp.pet.towers import Tower

_LAYERS = ("qkv", "proj", "fc1", "fc2")
_THIRDS = ("q", "k", "v")  # of qkv's outputs, in this order


@dataclass(frozen=True)
class LoRA:
    """Low-rank update of frozen linear layers: ``y = W0 x + (alpha / rank) B A x``.

    ::

              ┌── W0 (frozen) ──┐
        x ────┤                 + ── y        A (r, d_in), B (d_out, r)
              └── A ─── B · s ──┘

    timm computes queries, keys and values by one layer, ``qkv``. As a target it has one A and one B
    of 3C rows; ``q``, ``k`` and ``v`` have an A and a B of their own, and B has C rows::

              ┌── W0 (frozen) ── [q  k  v]
        x ────┼── A_k ── B_k · s ────+  │
              └── A_v ── B_v · s ───────+      targets=("k", "v")

    Where a model has layers of their own in the place of one (``q_proj``, ``k_proj``, ``v_proj``; gate
    and value of a gated MLP, ``fc1_g`` and ``fc1_x``), each has an A and a B of its own: ``qkv`` and
    ``fc1`` mean all of them. A gated MLP whose one layer gives gate and value has one A and one B there.

    ``B`` starts at zero, so attaching leaves the model's output as it was: to the bit in timm's
    models, but for rounding in open_clip's, and where qkv's bias stands beside the layer (Eva, BEiT).

    Args:
        rank: r, the inner width; at most the smaller side of every target.
        alpha: numerator of the fixed scale ``s = alpha / rank``; ``None`` gives ``s = 1``.
        targets: which linear layers of a block, of ``qkv``, ``proj`` (attention), ``fc1``, ``fc2``
            (MLP); in the place of ``qkv`` any of ``q``, ``k``, ``v``.
        blocks: indices of the blocks to change, ``None`` for all.
        tower: ``"image"``, or ``"text"`` of a CLIP model.

    Raises:
        ValueError: a field outside its range; at ``attach``, a rank above a target's width.

    Example:
        >>> LoRA(rank=4, targets=("k", "v", "fc1"), blocks=range(2)).blocks
        (0, 1)
    """

    rank: int
    alpha: float | None = None
    targets: tuple[str, ...] = ("qkv",)
    blocks: tuple[int, ...] | Iterable[int] | None = None
    tower: str = "image"
    depth: ClassVar[int] = 0

    def __post_init__(self) -> None:
        settle_fields(self)
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"LoRA.alpha={self.alpha!r}: must be a finite number above 0, or None")
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        allowed = (*_LAYERS, *_THIRDS)
        if not targets or len(set(targets)) != len(targets) or not set(targets) <= set(allowed):
            raise ValueError(
                f"LoRA.targets={self.targets!r}: must be distinct names of {', '.join(allowed)}"
            )
        if "qkv" in targets and set(targets) & set(_THIRDS):
            raise ValueError(
                f"LoRA.targets={self.targets!r}: qkv is q, k and v in one; give qkv, or those of q, "
                "k, v that shall have a LoRA of their own"
            )
        object.__setattr__(self, "targets", targets)

    def install(self, tower: Tower) -> None:
        """Put a ``LoRALinear`` or a ``LoRAThirds`` in the place of every target layer."""
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        thirds = [target for target in self.targets if target in _THIRDS]
        names = dict.fromkeys("qkv" if target in thirds else target for target in self.targets)
        for i in tower.indices(self):
            for name in names:
                for place in tower.places(i, name):
                    third = tower.third(place)
                    own = thirds if name == "qkv" else []
                    if own and third is None:
                        layer = self._find(tower, i, place, parts=3)
                        tower.put(i, place, LoRAThirds(layer, own, self.rank, scale))
                    elif not own or third in own:
                        layer = self._find(tower, i, place)
                        tower.put(i, place, LoRALinear(layer, self.rank, scale))

    def _find(self, tower: Tower, i: int, place: str, parts: int = 1) -> nn.Linear:
        """A target layer, where this LoRA fits on it, or on each of equal parts of its output."""
        layer, path = tower.find(i, place), tower.path(i, place)
        if type(layer) is not nn.Linear:
            found = "nothing" if layer is None else type(layer).__name__
            raise TypeError(
                f"LoRA.targets={self.targets!r}, but {path} is {found}: it must be a plain nn.Linear; "
                "choose other targets or blocks"
            )
        if layer.out_features % parts:
            raise TypeError(
                f"LoRA.targets={self.targets!r}, but {path} has {layer.out_features} outputs: "
                "queries, keys and values must be a third each; choose qkv as the target"
            )
        width = min(layer.in_features, layer.out_features // parts)
        if self.rank > width:
            raise ValueError(
                f"LoRA.rank={self.rank} is above the width {width} of {path}: "
                f"must be at most {width}"
            )
        tower.have_called(i, place)
        return layer


class LowRank(Rebasable):
    """The branch of a LoRA: by ``s B A x`` it changes what a frozen layer gives for x ``(..., d_in)``.

    The increment D ``(d_out, d_in)`` is what restarts left, the sum of every earlier ``s B A``; ``None``
    before the first. Who owns the branch adds D to the frozen weight that it stands beside.
    """

    first, second, earlier = "A", "B", ("increment",)
    increment: Tensor | None

    def __init__(self, frozen: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        d_out, d_in = frozen.shape
        like: dict[str, Any] = {"device": frozen.device, "dtype": frozen.dtype}
        self.scale = scale
        self.A = nn.Linear(d_in, rank, bias=False, **like)
        self.B = nn.Linear(rank, d_out, bias=False, **like)
        self.start_branch(self.fresh_matrix())

    def change(self, x: Tensor) -> Tensor:
        """``s B A x``."""
        change: Tensor = self.B(self.A(x))
        return self.scale * change

    def keep_branch(self) -> None:
        """``D ← D + s B A``, in float64 and rounded once."""
        self.increment = self.learned().to(self.A.weight.dtype)

    def fits(self, *earlier: Tensor) -> bool:
        """Whether there is one tensor of the frozen weight's shape."""
        (increment,) = earlier
        return increment.shape == (self.B.out_features, self.A.in_features)

    def learned(self) -> Tensor:
        """``D + s B A``, ``(d_out, d_in)``, in float64."""
        change = self.scale * (self.B.weight.double() @ self.A.weight.double())
        return change if self.increment is None else self.increment + change

    def extra_repr(self) -> str:
        return f"rank={self.A.out_features}, scale={self.scale:g}"


class BranchedLinear(nn.Module, ABC):
    """A frozen linear layer with low-rank branches beside parts of its output.

    ``(..., d_in)`` → ``(..., d_out)``. Parts without a branch are what the frozen layer gives, to the
    bit. The increments stand beside W0, which never changes.
    """

    base: nn.Linear

    @abstractmethod
    def branches(self) -> list[LowRank | None]:
        """For equal parts of the output, in order: the branch there, ``None`` where there is none."""

    def forward(self, x: Tensor) -> Tensor:
        y, branches = self._frozen_output(x), self.branches()
        # No chunk of one: its way back would copy the gradient.
        parts = [y] if len(branches) == 1 else y.chunk(len(branches), dim=-1)
        changed = [
            part if branch is None else part + branch.change(x)
            for part, branch in zip(parts, branches, strict=True)
        ]
        return changed[0] if len(changed) == 1 else torch.cat(changed, dim=-1)

    def _frozen_output(self, x: Tensor) -> Tensor:
        """``(W0 + D) x + b``."""
        increments = [None if branch is None else branch.increment for branch in self.branches()]
        if all(D is None for D in increments):
            y: Tensor = self.base(x)
            return y
        rows = zip(self.base.weight.chunk(len(increments)), increments, strict=True)
        # Cheaper than a second product with x.
        return F.linear(x, torch.cat([w if D is None else w + D for w, D in rows]), self.base.bias)

    @torch.no_grad()
    def merge(self) -> None:
        """Add what was learned to the frozen weight, in float64 and rounded once."""
        branches = self.branches()
        for rows, branch in zip(self.base.weight.chunk(len(branches)), branches, strict=True):
            if branch is not None:
                rows.copy_(rows.double() + branch.learned())


class LoRALinear(BranchedLinear, LowRank):
    """One branch for the whole output, which the layer is itself: ``y = (W0 + D) x + b + s B A x``."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        LowRank.__init__(self, base.weight, rank, scale)
        self.base = base

    def branches(self) -> list[LowRank | None]:
        return [self]


class LoRAThirds(BranchedLinear):
    """A layer ``[q k v]`` with branches ``q``, ``k`` and ``v``, some of which are ``None``."""

    def __init__(self, base: nn.Linear, thirds: Collection[str], rank: int, scale: float) -> None:
        super().__init__()
        self.base = base
        for name, frozen in zip(_THIRDS, base.weight.chunk(3), strict=True):
            self.register_module(name, LowRank(frozen, rank, scale) if name in thirds else None)

    def branches(self) -> list[LowRank | None]:
        return [getattr(self, name) for name in _THIRDS]
