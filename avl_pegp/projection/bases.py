"""The linear algebra of bases: which directions to protect, and how to project them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.projection.forms import Form, Gram

_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Basis:
    """Protected directions, and how firmly each is held.

    Attributes:
        columns: U ``(d, k)``, float64, orthonormal.
        holds: ``(k,)``, the share in (0, 1] that a step loses along each column.
    """

    columns: Tensor
    holds: Tensor

    @classmethod
    def empty(cls, d: int) -> Basis:
        """No direction of d."""
        return cls(torch.zeros(d, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))

    @property
    def rank(self) -> int:
        """k, how many columns there are."""
        return self.columns.shape[1]

    @property
    def is_hard(self) -> bool:
        """Whether a step loses all of what lies along every column."""
        return bool((self.holds == 1).all())


def extend_basis(
    basis: Tensor,
    moment: Tensor,
    energy: float,
    feature_eps: float,
    *,
    mean: Tensor | None = None,
    power: int = 1,
) -> Tensor:
    """Add to a basis the leading directions that new features hold beyond it.

    GPM's rule (Saha et al., 2021, arXiv 2103.09762, eq. 8-9), on σ²: the share ``tr(UᵀCU) / tr C``
    counts as captured, then leading eigenvectors of ``(I − UUᵀ) C (I − UUᵀ)`` join until the share
    reaches ``energy``. ``energy=1`` takes every direction above rounding noise, that of C and that of
    the features.

    Args:
        basis: U ``(d, k)``, float64, orthonormal columns, k ≥ 0.
        moment: C ``(d, d)``, float64, second moment of the new features.
        energy: share to protect, in (0, 1].
        feature_eps: relative rounding of the features.
        mean: their mean times the root of their number, ``(d,)``: it then joins first, and
            ``energy`` counts ``C − mean meanᵀ``, what varies about it.
        power: eigenvalues count as energy in this power.

    Returns:
        ``(d, k + added)``, whose first k columns are U.

    Example:
        >>> import torch
        >>> moment = torch.diag(torch.tensor([9.0, 1.0, 0.0], dtype=torch.float64))
        >>> extend_basis(moment.new_zeros(3, 0), moment, 0.9, 1e-16).shape
        torch.Size([3, 1])
        >>> extend_basis(moment.new_zeros(3, 0), moment, 1.0, 1e-16).shape
        torch.Size([3, 2])
    """
    varying = moment if mean is None else moment - torch.outer(mean, mean)
    return grow(basis, Gram(moment), Gram(varying), mean, energy, feature_eps**2, power)


def grow(
    basis: Tensor,
    seen: Form,
    varying: Form,
    mean: Tensor | None,
    energy: float,
    noise: float,
    power: int,
) -> Tensor:
    """``extend_basis`` for a second moment in whatever form.

    Args:
        basis: U ``(d, k)``.
        seen: the moment C.
        varying: what ``energy`` counts: C, or C about the mean.
        mean: as in ``extend_basis``.
        energy: share to protect, in (0, 1].
        noise: share of the energy that may be the features' own rounding.
        power: eigenvalues count as energy in this power.
    """
    d, size = len(basis), seen.energy() if energy < 1 else seen.largest()
    if size <= 0:
        return basis
    # Relative to C, never to what is left of it beyond the basis: that may be noise alone.
    floor = d * max(seen.rounding, noise) * size
    if mean is not None:
        rest = mean - basis @ (basis.mT @ mean)
        if rest.square().sum() > floor:
            basis = _orthonormal(basis, rest[:, None] / rest.norm())
    if varying.energy() <= floor:
        return basis
    values, vectors = varying.beyond(basis)
    if energy == 1:
        added = int((values > floor).sum())
    else:  # a floor here might cut below the energy that was asked for
        shares, total = values**power, varying.energy(power)
        captured = total - shares.sum()
        before = captured + shares.cumsum(0) - shares
        missing = before < (energy - d * _EPS) * total
        added = int((missing & (values > 0)).sum())
    return _orthonormal(basis, vectors[:, : min(added, d - basis.shape[1])])


def _orthonormal(basis: Tensor, new: Tensor) -> Tensor:
    """``[basis | new]`` with the new columns, orthonormal but for rounding, made so to all."""
    for _ in range(2 if basis.shape[1] else 0):  # once leaves the rounding of nearly dependent ones
        new = torch.linalg.qr(new - basis @ (basis.mT @ new))[0]
    return torch.cat([basis, new], dim=1)


class Cast:
    """A tensor kept in full precision, and its copy of the dtype and device last asked for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._copy = tensor

    def like(self, other: Tensor) -> Tensor:
        """The tensor in the dtype and on the device of ``other``; not to be changed in place."""
        if self._copy.dtype != other.dtype or self._copy.device != other.device:
            self._copy = self.tensor.to(other)
        return self._copy


class Projector:
    """P = I − U diag(h) Uᵀ for each group, applied from the right to ``(G, out, d)``.

    h says how firmly each direction is held: 1 makes P a projection. Where U then holds more than half
    of the directions, the complement's basis is applied instead.

    Attributes:
        is_hard: whether P is a projection, so that applying it again changes nothing.
    """

    def __init__(self, bases: Sequence[Basis]) -> None:
        self.is_hard, d = all(basis.is_hard for basis in bases), len(bases[0].columns)
        self._remaining = self.is_hard and max(basis.rank for basis in bases) > d // 2
        kept = [_complement(b.columns) if self._remaining else b.columns for b in bases]
        self._columns = Cast(_stacked(kept))
        held = [basis.columns * basis.holds for basis in bases]
        self._held = self._columns if self.is_hard else Cast(_stacked(held))

    def __call__(self, delta: Tensor) -> Tensor:
        """``(G, out, d)`` without what is held of its part along the directions, same shape."""
        along: Tensor = (delta @ self._held.like(delta)) @ self._columns.like(delta).mT
        return along if self._remaining else delta - along


def _stacked(matrices: Sequence[Tensor]) -> Tensor:
    """``(G, d, k)`` of matrices ``(d, ≤ k)``, padded with zero columns."""
    width = max(matrix.shape[1] for matrix in matrices)
    return torch.stack([F.pad(matrix, (0, width - matrix.shape[1])) for matrix in matrices])


def _complement(basis: Tensor) -> Tensor:
    """Orthonormal columns ``(d, d − k)`` that span what ``basis`` leaves free."""
    full: Tensor = torch.linalg.qr(basis, mode="complete")[0]
    return full[:, basis.shape[1] :]
