"""Streaming second moments of features: all that is ever kept of the data.

A moment of rows ``x`` is the second moment C of ``[x, 1]``: ``Σ xᵀx``, ``Σ x`` and the count, in
float64. A site without a bias uses the leading part, a biased one all of it.

It is kept as the matrix C, or as a triangular factor R, ``RᵀR = C``: where rows are few, R is thin; and
of float64 features R shows directions that are lost when they are squared. Of float32 features
nothing is lost: what a float64 square hides lies below their own rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.projection.forms import Factor, Form, Gram

_ROWS_AT_ONCE = 65536
_EPS32, _EPS64 = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Moment:
    """Second moment of the rows ``[x, 1]`` that a site saw.

    Attributes:
        stored: float64; C ``(G, d + 1, d + 1)`` or R ``(G, n, d + 1)``, for G groups (heads), each
            with its own features.
        squared: whether it is C.
        feature_eps: machine epsilon of the features' dtype, the widest so far.
    """

    stored: Tensor
    squared: bool
    feature_eps: float

    @classmethod
    def of(cls, features: Tensor, groups: int = 1) -> Moment:
        """The moment of features ``(..., d)``, or ``(..., G, N, d)`` for G > 1 groups."""
        d, eps = features.shape[-1], torch.finfo(features.dtype).eps
        rows = features if groups == 1 else features.movedim(-3, 0)
        rows = rows.reshape(groups, -1, d)
        if _needs_factor(rows.shape[1], d + 1, eps):
            chunks = (
                F.pad(chunk.double(), (0, 1), value=1) for chunk in rows.split(_ROWS_AT_ONCE, 1)
            )
            first, *rest = (cls(_triangular(x), False, eps) for x in chunks)
            return sum(rest, start=first)
        matrix, *others = map(_product, rows.split(_ROWS_AT_ONCE, dim=1))
        for other in others:
            matrix += other
        return cls(matrix, True, eps)

    @classmethod
    def empty(
        cls, d: int, groups: int = 1, feature_eps: float = 0.0, device: torch.device | None = None
    ) -> Moment:
        """The moment of no rows of this width."""
        rows = torch.zeros(groups, 0, d + 1, dtype=torch.float64, device=device)
        return cls(rows, False, feature_eps)

    def __add__(self, other: Moment) -> Moment:
        eps = max(self.feature_eps, other.feature_eps)
        device, width = self.stored.device, self.stored.shape[-1]
        if not (self.squared or other.squared):
            rows = torch.cat([self.stored, other.stored.to(device)], dim=1)
            if _needs_factor(rows.shape[1], width, eps):
                return Moment(_triangular(rows), False, eps)
        return Moment(self.of_width(width) + other.to(device).of_width(width), True, eps)

    @cached_property
    def matrix(self) -> Tensor:
        """C, ``(G, d + 1, d + 1)``; kept once it was asked for."""
        return self.of_width(self.stored.shape[-1])

    @property
    def noise(self) -> float:
        """The share of a feature's energy that may be the rounding of its dtype, and no direction.

        None is told from rounding in half precision: there it would be more than directions hold.
        """
        return self.feature_eps**2 if self.feature_eps <= _EPS32 else 0.0

    @property
    def count(self) -> Tensor:
        """``(G,)``, how many rows there were."""
        last = self.stored[..., -1]
        return last[:, -1] if self.squared else last.square().sum(1).round()

    def to(self, device: torch.device | str) -> Moment:
        """Itself where it is on this device, else a copy there."""
        is_there = self.stored.device == torch.device(device)
        return self if is_there else Moment(self.stored.to(device), self.squared, self.feature_eps)

    def of_width(self, width: int) -> Tensor:
        """The part of C that a weight of this width meets: ``d``, or ``d + 1`` with a bias."""
        stored = self.stored[..., :width]
        if self.squared:
            return stored[:, :width]
        C = stored.mT @ stored
        if width == self.stored.shape[-1]:
            C[:, -1, -1] = self.count
        return C

    def form(self, group: int, width: int) -> Form:
        """That part of one group, as it is kept."""
        stored = self.stored[group, :, :width]
        return Gram(stored[:width]) if self.squared else Factor(stored)

    def form_about_mean(self, group: int, width: int) -> Form:
        """The same about the mean."""
        if self.squared:
            return Gram(self.about_mean(width)[group])
        ones = _unit(self.stored[group, :, -1])
        rows = self.stored[group, :, :width]
        return Factor(rows - torch.outer(ones, ones @ rows))

    def mean(self, width: int) -> Tensor:
        """``(G, width)``, the mean row times the root of how many there were; 0 where there was none."""
        if not self.squared:
            return (_unit(self.stored[..., -1])[:, None] @ self.stored[..., :width])[:, 0]
        return self.stored[:, -1, :width] / self.count[:, None].clamp_min(1).sqrt()

    def about_mean(self, width: int) -> Tensor:
        """``(G, width, width)``, the second moment about the mean."""
        mean = self.mean(width)
        return self.of_width(width) - mean[:, :, None] * mean[:, None, :]

    def times(self, weight: Tensor) -> Tensor:
        """``W C`` for W ``(G, out, width)``, same shape."""
        if self.squared:
            return weight @ self.of_width(weight.shape[-1])
        rows = self.stored[..., : weight.shape[-1]]
        return (weight @ rows.mT) @ rows

    def energy(self, weight: Tensor) -> float:
        """``tr(W C Wᵀ)``, the energy of what W ``(G, out, width)`` made of the rows."""
        if self.squared:
            return float((weight * self.times(weight)).sum())
        return float((weight @ self.stored[..., : weight.shape[-1]].mT).square().sum())

    @classmethod
    def of_zeros(cls, like: Moment, width: int) -> Moment:
        """The moment of as many rows of ``width`` zeros as another has rows."""
        rows = like.stored.new_zeros(len(like.stored), 1, width + 1)
        rows[:, 0, -1] = like.count.sqrt()
        return cls(rows, False, like.feature_eps)

    def is_finite(self) -> bool:
        """False where a feature was NaN or infinite, or too large to be squared."""
        diagonal = self.stored.diagonal(dim1=1, dim2=2)  # no entry is larger than two of its
        numbers = diagonal if self.squared else self.stored.square().sum()
        return bool(torch.isfinite(numbers).all())

    def to_state(self) -> dict[str, Any]:
        """Tensors and numbers that ``from_state`` takes back."""
        form = "matrix" if self.squared else "factor"
        return {form: self.stored, "feature_eps": self.feature_eps}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Moment:
        """The moment that ``to_state`` described, on the CPU."""
        squared = "matrix" in state
        stored: Tensor = state["matrix" if squared else "factor"]
        return cls(stored.cpu(), squared, state["feature_eps"])


def _needs_factor(rows: int, width: int, feature_eps: float) -> bool:
    """Whether R is to be kept: it is thin, or squaring would lose what features show.

    Between half the width and all of it, making R anew with every batch costs more than it saves.
    """
    return rows <= width // 2 or feature_eps**2 < _EPS64


def _product(rows: Tensor) -> Tensor:
    """C ``(G, d + 1, d + 1)``, float64, of rows ``(G, n, d)`` with a 1 behind each."""
    groups, n, d = rows.shape
    x = rows.double()
    matrix, sums = x.new_empty(groups, d + 1, d + 1), x.sum(1)
    matrix[:, :d, :d] = x.mT @ x
    matrix[:, d, :d] = matrix[:, :d, d] = sums
    matrix[:, d, d] = n
    return matrix


def _triangular(rows: Tensor) -> Tensor:
    """R ``(G, ≤ n, w)`` of the QR decomposition of ``(G, n, w)``: no row is what it was."""
    factor: Tensor = torch.linalg.qr(rows, mode="r")[1]
    return factor


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1, along the last axis; zeros stay."""
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / lengths.clamp_min(1e-300)
