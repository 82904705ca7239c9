"""Bases: which directions of old features to protect, how firmly, and how to project them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.projection.forms import Form, Gram
from avl_pegp.projection.moments import Moment

MemoryPolicy = Literal["union", "covariance"]
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

    @classmethod
    def none(cls, weight: Tensor) -> tuple[Basis, ...]:
        """Empty bases, one for each group of a weight ``(G, out, d)``."""
        return (cls.empty(weight.shape[-1]),) * len(weight)

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
    return extend_columns(basis, Gram(moment), Gram(varying), mean, energy, feature_eps**2, power)


def extend_columns(
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


@dataclass(frozen=True)
class Protection:
    """The rule by which a site's basis is extended, and the share of a step that it takes away.

    The defaults are GPM's: each experience adds the leading directions that it holds beyond the
    basis, and steps lose all of what lies along it.

    Args:
        memory: ``"union"`` (GPM, Saha et al., 2021, arXiv 2103.09762) extends the basis by each
            experience's own directions; ``"covariance"`` (Adam-NSCL, Wang et al., 2021,
            arXiv 2103.07113; VPT-NSP², Lu et al., 2024, arXiv 2406.05658) takes it anew from the
            moments of all experiences added up.
        centred: protect the mean of the features as a direction of its own, and let ``energy`` count
            what varies about it. Behind a LayerNorm the mean holds most of the energy and says least.
        power: the energy of a direction is σ to twice this power: 1 for σ² as in GPM, 2 for σ⁴ as in
            the published PEGP code.
        eta: η of NSP²: steps lose this share of what lies along the basis, in (0, 1].
        alpha: α of SGP (Saha & Roy, 2023, arXiv 2302.01386), from 0: a direction is held by its
            importance ``(α + 1) s / (α s + max s)``, s its singular value, added up over
            experiences to at most 1. ``None`` holds all directions fully.

    With ``eta`` below 1 or an ``alpha`` old outputs are kept in part only, even at ``energy=1``. The
    share is taken once: from the optimizer's step, as in NSP², or with ``project="gradient"`` from the
    gradient, as in SGP; the classifier's rows lose it with the step in both.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> Protection(centred=True).is_hard
        True
    """

    memory: MemoryPolicy = "union"
    centred: bool = False
    power: int = 1
    eta: float = 1.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.memory not in get_args(MemoryPolicy):
            known = ", ".join(get_args(MemoryPolicy))
            raise ValueError(f"Protection.memory={self.memory!r}: must be one of {known}")
        if self.power not in (1, 2):
            raise ValueError(f"Protection.power={self.power!r}: must be 1 (σ²) or 2 (σ⁴)")
        if not 0 < self.eta <= 1:
            raise ValueError(f"Protection.eta={self.eta!r}: must be above 0 and at most 1")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(
                f"Protection.alpha={self.alpha!r}: must be a finite number from 0 on, or None to "
                "hold every direction fully"
            )

    @property
    def is_hard(self) -> bool:
        """Whether a step loses all of what lies along the basis."""
        return self.eta == 1 and self.alpha is None

    def extend(
        self, bases: Sequence[Basis], gathered: Moment, total: Moment, energy: float
    ) -> tuple[Basis, ...]:
        """Extend the bases of a site's groups by one more experience.

        Args:
            bases: so far, ``(d, k)`` each.
            gathered: moment of the new features.
            total: moment of all features, the new ones too.
            energy: share to protect, in (0, 1].
        """
        return tuple(
            self._extended(basis, gathered, total, group, energy)
            for group, basis in enumerate(bases)
        )

    def _extended(
        self, basis: Basis, gathered: Moment, total: Moment, group: int, energy: float
    ) -> Basis:
        d = len(basis.columns)
        seen = gathered
        if self.memory == "covariance":
            basis, seen = Basis.empty(d), total.to(gathered.stored.device)
        columns = basis.columns.to(seen.stored.device)
        form, varying, mean = seen.form(group, d), seen.form(group, d), None
        if self.centred:
            varying, mean = seen.form_about_mean(group, d), seen.mean(d)[group]
        columns = extend_columns(columns, form, varying, mean, energy, seen.noise, self.power)
        sizes = form.along(columns).clamp_min(0).sqrt()
        return Basis(columns.cpu(), self._holds(basis, sizes.cpu()))

    def _holds(self, basis: Basis, sizes: Tensor) -> Tensor:
        """The share that a step loses along each column, of which features have these sizes."""
        if self.alpha is None:
            return torch.full_like(sizes, self.eta)
        largest = sizes.max() if len(sizes) else sizes.sum()
        importance = torch.nan_to_num((self.alpha + 1) * sizes / (self.alpha * sizes + largest))
        importance[: len(basis.holds)] += basis.holds / self.eta
        return self.eta * importance.clamp_max(1)


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
