"""The two forms in which the second moment C of one group's rows is kept, and their directions.

``Gram`` is C itself; ``Factor`` is an R with ``RᵀR = C``, which has fewer rows where there were few,
and shows directions that squaring loses in rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps


class Form(Protocol):
    """The second moment C ``(d, d)`` of some rows, in one form or another."""

    @property
    def rounding(self) -> float:
        """Eigenvalues below d times this share of the largest are lost in rounding."""

    def energy(self, power: int = 1) -> Tensor:
        """The sum of all eigenvalues of C, each to this power, 1 or 2."""

    def largest(self) -> Tensor:
        """The largest eigenvalue of C, to within a factor of two."""

    def along(self, columns: Tensor) -> Tensor:
        """``uᵀCu`` for each column u of ``(d, k)``: ``(k,)``."""

    def beyond(self, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Eigenvalues, largest first, and eigenvectors ``(d, m)`` of ``(I − UUᵀ) C (I − UUᵀ)``.

        Those of directions that no row has may be left out.
        """


@dataclass(frozen=True)
class Gram:
    """C ``(d, d)`` itself, float64."""

    matrix: Tensor

    @property
    def rounding(self) -> float:
        return _EPS

    def energy(self, power: int = 1) -> Tensor:
        return self.matrix.trace() if power == 1 else self.matrix.square().sum()

    def largest(self) -> Tensor:
        return _largest(self.matrix, lambda vector: self.matrix @ vector)

    def along(self, columns: Tensor) -> Tensor:
        return (columns * (self.matrix @ columns)).sum(0)

    def beyond(self, basis: Tensor) -> tuple[Tensor, Tensor]:
        C = self.matrix - basis @ (basis.mT @ self.matrix)
        C = C - (C @ basis) @ basis.mT
        values, vectors = torch.linalg.eigh((C + C.mT) / 2)
        return values.flip(0).clamp_min(0), vectors.flip(1)


@dataclass(frozen=True)
class Factor:
    """R ``(n, d)`` with ``RᵀR = C``, float64."""

    rows: Tensor

    @property
    def rounding(self) -> float:
        return _EPS**2 * self.rows.shape[1]

    def energy(self, power: int = 1) -> Tensor:
        return (self.rows if power == 1 else self.rows @ self.rows.mT).square().sum()

    def largest(self) -> Tensor:
        return _largest(self.rows, lambda vector: (self.rows @ vector) @ self.rows)

    def along(self, columns: Tensor) -> Tensor:
        return (self.rows @ columns).square().sum(0)

    def beyond(self, basis: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.rows
        for _ in range(2 if basis.shape[1] else 0):  # twice, or rounding of the first would stay
            rows = rows - (rows @ basis) @ basis.mT
        _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
        return values.square(), vectors.mT


def _largest(like: Tensor, times: Callable[[Tensor], Tensor]) -> Tensor:
    """The largest eigenvalue of C within a factor of two, by products with one vector."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(like.shape[-1], generator=generator, dtype=torch.float64).to(like.device)
    for _ in range(20):
        vector = times(vector / vector.norm().clamp_min(1e-300))
    largest: Tensor = vector.norm()
    return largest
