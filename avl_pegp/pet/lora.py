"""LoRA (Hu et al., 2022, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet.config import Replace, require_positive, settle_blocks
from avl_pegp.pet.rebase import Rebasable

_PARENTS = {"qkv": "attn", "proj": "attn", "fc1": "mlp", "fc2": "mlp"}


@dataclass(frozen=True)
class LoRA:
    """Low-rank update of frozen linear layers: ``y = W0 x + (alpha / rank) B A x``.

    ::

              ┌── W0 (frozen) ──┐
        x ────┤                 + ── y        A (r, d_in), B (d_out, r)
              └── A ─── B · s ──┘

    ``B`` starts at zero, so attaching leaves the model's output as it was, to the bit.

    Args:
        rank: r, the inner width; at most the smaller side of every target layer.
        alpha: numerator of the fixed scale ``s = alpha / rank``; ``None`` gives ``s = 1``.
        targets: which linear layers of a block, of ``qkv``, ``proj`` (attention), ``fc1``, ``fc2``
            (MLP). ``qkv`` is timm's fused projection of queries, keys and values.
        blocks: indices of the blocks to change, ``None`` for all.

    Raises:
        ValueError: a field outside its range; at ``attach``, a rank above a layer's width.

    Example:
        >>> LoRA(rank=4, targets=("qkv", "fc1"), blocks=range(2)).blocks
        (0, 1)
    """

    rank: int
    alpha: float | None = None
    targets: tuple[str, ...] = ("qkv",)
    blocks: tuple[int, ...] | Iterable[int] | None = None
    depth: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_positive(self, rank=self.rank)
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"LoRA.alpha={self.alpha!r}: must be a finite number above 0, or None")
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        if not targets or len(set(targets)) != len(targets) or not set(targets) <= set(_PARENTS):
            raise ValueError(
                f"LoRA.targets={self.targets!r}: must be distinct names of {', '.join(_PARENTS)}"
            )
        object.__setattr__(self, "targets", targets)
        settle_blocks(self, self.blocks)

    def install(self, blocks: nn.Sequential, indices: list[int], replace: Replace) -> None:
        """Put a ``LoRALinear`` in the place of every target layer."""
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        for i in indices:
            for target in self.targets:
                path = f"{_PARENTS[target]}.{target}"
                parent = getattr(blocks[i], _PARENTS[target], None)
                layer = getattr(parent, target, None)
                if parent is None or type(layer) is not nn.Linear:
                    found = "nothing" if layer is None else type(layer).__name__
                    raise TypeError(
                        f"LoRA.targets has {target!r}, but blocks.{i}.{path} is {found}: it must "
                        "be a plain nn.Linear; choose other targets or blocks"
                    )
                width = min(layer.in_features, layer.out_features)
                if self.rank > width:
                    raise ValueError(
                        f"LoRA.rank={self.rank} is above the width {width} of blocks.{i}.{path}: "
                        f"must be at most {width}"
                    )
                replace(parent, target, LoRALinear(layer, self.rank, scale))


class LoRALinear(Rebasable):
    """A frozen linear layer with a low-rank branch beside it; ``(..., d_in)`` → ``(..., d_out)``.

    ``y = (W0 + D) x + b + s B A x``. The increment D ``(d_out, d_in)`` is what rebases left, the sum
    of every earlier ``s B A``; ``None`` before the first. It stands beside W0, which never changes.
    """

    first, second, earlier = "A", "B", ("increment",)
    increment: Tensor | None

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        like: dict[str, Any] = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.base = base
        self.scale = scale
        self.A = nn.Linear(base.in_features, rank, bias=False, **like)
        self.B = nn.Linear(rank, base.out_features, bias=False, **like)
        self.start_branch(self.fresh_matrix())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.increment is None:
            y = self.base(x)
        else:  # adding weights is cheaper than a second product with x
            y = F.linear(x, self.base.weight + self.increment, self.base.bias)
        change: Tensor = self.B(self.A(x))
        return y + self.scale * change

    def keep_branch(self) -> None:
        """``D ← D + s B A``, in float64 and rounded once."""
        self.increment = self._change().to(self.base.weight.dtype)

    def fits(self, *earlier: Tensor) -> bool:
        """Whether there is one tensor of the frozen weight's shape."""
        (increment,) = earlier
        return increment.shape == self.base.weight.shape

    @torch.no_grad()
    def merge(self) -> None:
        """Add ``D + s B A`` to the frozen weight, in float64 and rounded once."""
        self.base.weight.copy_(self.base.weight.double() + self._change())

    def _change(self) -> Tensor:
        """``D + s B A``, ``(d_out, d_in)``, in float64."""
        change = self.scale * (self.B.weight.double() @ self.A.weight.double())
        return change if self.increment is None else self.increment + change

    def extra_repr(self) -> str:
        return f"rank={self.A.out_features}, scale={self.scale:g}"


def frozen_linear(layer: nn.Module) -> nn.Linear:
    """The frozen layer itself, past a LoRA where there is one; its weight is W0 alone.

    What is trainable must not be multiplied by a LoRA: its rows would become features that change.
    Nor by the increment that rebases leave, which grows: with W0 alone a rebase changes no key and
    no value of a prompt.
    """
    base = layer.base if isinstance(layer, LoRALinear) else layer
    if not isinstance(base, nn.Linear):
        raise TypeError(f"{type(layer).__name__} in the place of a linear layer: must be nn.Linear")
    return base
