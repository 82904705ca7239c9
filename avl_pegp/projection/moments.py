"""Streaming second moments of features: all that is ever kept of the data.

A moment of rows ``x`` is the second moment of ``[x, 1]``: ``Σ xᵀx``, ``Σ x`` and the count in one
float64 matrix. A site without a bias uses the leading part, a biased one all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Moment:
    """Second moment of the rows ``[x, 1]`` that a site saw.

    Attributes:
        matrix: ``(G, d + 1, d + 1)``, float64; G groups (heads), each with its own features.
        feature_eps: machine epsilon of the features' dtype, the widest so far.
    """

    matrix: Tensor
    feature_eps: float

    @classmethod
    def of(cls, features: Tensor, groups: int = 1) -> Moment:
        """The moment of features ``(..., d)``, or ``(..., G, N, d)`` for G > 1 groups."""
        d = features.shape[-1]
        if groups > 1:
            rows = features.movedim(-3, 0).reshape(groups, -1, d)
        else:
            rows = features.reshape(1, -1, d)
        matrix = rows.new_zeros(groups, d + 1, d + 1, dtype=torch.float64)
        for chunk in rows.split(_ROWS_AT_ONCE, dim=1):
            x = chunk.double()
            matrix[:, :d, :d] += x.mT @ x
            matrix[:, d, :d] += x.sum(1)
        matrix[:, :d, d] = matrix[:, d, :d]
        matrix[:, d, d] = rows.shape[1]
        return cls(matrix, torch.finfo(features.dtype).eps)

    def __add__(self, other: Moment) -> Moment:
        matrix = self.matrix + other.matrix.to(self.matrix.device)
        return Moment(matrix, max(self.feature_eps, other.feature_eps))

    def cpu(self) -> Moment:
        """Itself where it is on the CPU, else a copy there: the past must outlive a move."""
        is_there = self.matrix.device.type == "cpu"
        return self if is_there else Moment(self.matrix.cpu(), self.feature_eps)

    def of_width(self, width: int) -> Tensor:
        """The part that a weight of this input width meets: ``d``, or ``d + 1`` with a bias."""
        return self.matrix[:, :width, :width]

    def mean(self, width: int) -> Tensor:
        """``(G, width)``, the mean row times the root of how many there were; 0 where there was none."""
        count = self.matrix[:, -1:, -1]
        return self.matrix[:, -1, :width] / count.clamp_min(1).sqrt()

    def about_mean(self, width: int) -> Tensor:
        """``(G, width, width)``, the second moment about the mean."""
        mean = self.mean(width)
        return self.of_width(width) - mean[:, :, None] * mean[:, None, :]

    @classmethod
    def of_zeros(cls, like: Moment, width: int) -> Moment:
        """The moment of as many rows of ``width`` zeros as another has rows."""
        matrix = like.matrix.new_zeros(len(like.matrix), width + 1, width + 1)
        matrix[:, -1, -1] = like.matrix[:, -1, -1]
        return cls(matrix, like.feature_eps)

    def is_finite(self) -> bool:
        """False where a feature was NaN or infinite, or too large to be squared."""
        return bool(torch.isfinite(self.matrix).all())


def on_cpu(moments: Mapping[str, Moment]) -> dict[str, Moment]:
    """The same moments on the CPU; those that were one object still are."""
    moved = {id(moment): moment.cpu() for moment in moments.values()}
    return {name: moved[id(moment)] for name, moment in moments.items()}
