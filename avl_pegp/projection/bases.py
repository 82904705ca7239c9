"""The linear algebra of bases: which directions to protect, and how to project them out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps


def require_energy(energy: float) -> float:
    """``energy`` itself, or ValueError where it lies outside (0, 1]."""
    if isinstance(energy, bool) or not isinstance(energy, int | float) or not 0 < energy <= 1:
        raise ValueError(
            f"energy={energy!r}: must be a number above 0 and at most 1, the share of old feature "
            "energy to protect; 1.0 protects all of it"
        )
    return float(energy)


def extend_basis(basis: Tensor, moment: Tensor, energy: float, feature_eps: float) -> Tensor:
    """Add to a basis the leading directions that new features hold beyond it.

    GPM's rule (Saha et al., 2021, arXiv 2103.09762, eq. 8-9), on σ²: the share ``tr(UᵀCU) / tr C``
    counts as captured, then leading eigenvectors of ``(I − UUᵀ) C (I − UUᵀ)`` join until the share
    reaches ``energy``. ``energy=1`` takes every direction above the rounding noise of C.

    Args:
        basis: U ``(d, k)``, float64, orthonormal columns, k ≥ 0.
        moment: C ``(d, d)``, float64, second moment of the new features.
        energy: share to protect, in (0, 1].
        feature_eps: machine epsilon of the dtype that the features had.

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
    d, total = len(moment), moment.trace()
    if total <= 0:
        return basis
    residual = moment - basis @ (basis.mT @ moment)
    residual = residual - (residual @ basis) @ basis.mT
    values, vectors = torch.linalg.eigh((residual + residual.mT) / 2)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if energy == 1:
        # Relative to C, never to the residual: what is left of C after U may be noise alone.
        noise = d * max(_EPS, feature_eps**2) * torch.linalg.eigvalsh(moment)[-1]
        added = int((values > noise).sum())
    else:
        captured = 1 - values.sum() / total
        before = captured + (values.cumsum(0) - values) / total
        added = int((before < energy - d * _EPS).sum())
    return _orthonormal(basis, vectors[:, : min(added, d - basis.shape[1])])


def _orthonormal(basis: Tensor, new: Tensor) -> Tensor:
    """``[basis | new]`` with the new columns made orthonormal to it and to each other."""
    for _ in range(2):  # once leaves the rounding of nearly dependent columns, twice is enough
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
    """P = I − U Uᵀ for each group, applied from the right to ``(G, out, d)``.

    Where U holds more than half of the directions, the complement's basis is applied instead.
    Groups are padded with zero columns to one size.
    """

    def __init__(self, bases: Sequence[Tensor]) -> None:
        d = len(bases[0])
        self._remaining = max(basis.shape[1] for basis in bases) > d // 2
        kept = [_complement(basis) for basis in bases] if self._remaining else list(bases)
        width = max(basis.shape[1] for basis in kept)
        columns = [torch.nn.functional.pad(basis, (0, width - basis.shape[1])) for basis in kept]
        self._columns = Cast(torch.stack(columns))

    def __call__(self, delta: Tensor) -> Tensor:
        """``(G, out, d)`` without its part along the protected directions, same shape."""
        columns = self._columns.like(delta)
        along: Tensor = (delta @ columns) @ columns.mT
        return along if self._remaining else delta - along


def _complement(basis: Tensor) -> Tensor:
    """Orthonormal columns ``(d, d − k)`` that span what ``basis`` leaves free."""
    full: Tensor = torch.linalg.qr(basis, mode="complete")[0]
    return full[:, basis.shape[1] :]
