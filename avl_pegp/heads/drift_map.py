"""How features have moved, as a linear map that is estimated without one old sample."""

from __future__ import annotations

import torch
from torch import Tensor

from avl_pegp.heads.checks import require_above

_SHARES = [10.0**power for power in range(-4, 3)]  # of λ in the mean eigenvalue, to choose from
_DEPENDENT = 1e-8  # a singular value of unit directions below that: they span less


def ridge_map(before: Tensor, after: Tensor, ridge: float) -> Tensor:
    """The linear map from features before to features after that lies nearest to the identity.

    ``W = I + (F_new − F_old)ᵀ F_old (F_oldᵀ F_old + λ I)⁻¹``, which minimises
    ``‖F_new − F_old Wᵀ‖² + λ ‖W − I‖²``.

    Args:
        before: F_old ``(N, d)``, features of some images.
        after: F_new ``(N, d)``, those of the same images later.
        ridge: λ as a share of ``tr(F_oldᵀ F_old) / d``, above 0.

    Returns:
        W, ``(d, d)``, float64 on the CPU, for ``ClassStatistics.move``.

    Raises:
        ValueError: features of unequal shapes, NaN or infinite, or a ridge out of range.

    Example:
        >>> before = torch.eye(2)
        >>> ridge_map(before, before @ torch.tensor([[1.0, 1], [0, 1]]), ridge=1e-9).round()
        tensor([[1., 0.],
                [1., 1.]], dtype=torch.float64)
    """
    return _Pairs(*_checked(before, after)).map(require_above("ridge", ridge))


def kept_off(linear_map: Tensor, directions: Tensor) -> Tensor:
    """The map without what it does along some directions: ``I + (W − I)(I − Q Qᵀ)``.

    Args:
        linear_map: W, ``(d, d)``.
        directions: ``(d, k)``, whose columns Q spans.

    Example:
        >>> kept_off(2 * torch.eye(2), torch.tensor([[1.0], [0.0]]))
        tensor([[1., 0.],
                [0., 2.]])
    """
    vectors, sizes, _ = torch.linalg.svd(directions.to(linear_map), full_matrices=False)
    Q = vectors[:, sizes > _DEPENDENT]
    D = linear_map - torch.eye(len(linear_map), dtype=linear_map.dtype)
    kept: Tensor = linear_map - (D @ Q) @ Q.mT
    return kept


def chosen_ridge(before: Tensor, after: Tensor, origins: Tensor) -> float | None:
    """The ridge whose map foretells best how features of classes move that it has not seen.

    Each class is left out in turn, as old classes are. Where there is one class only, halves of its
    images are.

    Args:
        before: ``(N, d)``, as in ``ridge_map``.
        after: ``(N, d)``, likewise.
        origins: ``(N, m)``, the classes that each image was made of; a row counts as of a class left
            out where all of its origins are, and as seen where none is.

    Returns:
        A share as ``ridge_map`` takes it; ``None`` where no map foretells better than the identity.

    Raises:
        ValueError: features of unequal shapes, NaN or infinite, or another number of origins.

    Example:
        >>> features, drawn = torch.randn(60, 3), torch.randn(60, 3)
        >>> origins = torch.arange(60)[:, None] % 4
        >>> chosen_ridge(features, 2 * features, origins)  # all classes move alike
        0.0001
        >>> chosen_ridge(features, features, origins)  # none does
    """
    before, after = _checked(before, after)
    if origins.ndim != 2 or len(origins) != len(before):
        raise ValueError(
            f"origins have shape {tuple(origins.shape)}: must be ({len(before)}, m), the classes that "
            "each image was made of"
        )
    if (origins == origins[0, 0]).all():
        origins = torch.arange(len(before))[:, None] % 2
    errors = torch.zeros(len(_SHARES), dtype=torch.float64)
    still = 0.0
    for left_out in origins.unique():
        theirs = origins == left_out
        seen, tested = ~theirs.any(1), theirs.all(1)
        held = _Pairs(before[tested], after[tested])
        still += float(held.changed)
        pairs = _Pairs(before[seen], after[seen])
        errors += torch.tensor([held.error(pairs.map(share)) for share in _SHARES])
    best = int(errors.argmin())
    return _SHARES[best] if errors[best] < still else None


def _checked(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 on the CPU."""
    if before.ndim != 2 or before.shape != after.shape:
        raise ValueError(
            f"features before have shape {tuple(before.shape)} and after {tuple(after.shape)}: must be "
            "(N, d) both, of the same images"
        )
    if not (before.isfinite().all() and after.isfinite().all()):
        raise ValueError("features are NaN or infinite: no map can be estimated of them")
    return before.detach().double().cpu(), after.detach().double().cpu()


class _Pairs:
    """Moments of pairs of features: all that maps and their errors need."""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        change = after - before
        self.gram, self.cross = before.mT @ before, change.mT @ before
        self.changed = change.square().sum()
        self.unit = torch.eye(before.shape[1], dtype=before.dtype)

    def map(self, ridge: float) -> Tensor:
        """W of this ridge; the identity where features are all zero."""
        size = self.gram.trace() / len(self.gram)
        if not size:
            return self.unit
        solved: Tensor = torch.linalg.solve(self.gram + ridge * size * self.unit, self.cross.mT)
        return self.unit + solved.mT

    def error(self, linear_map: Tensor) -> float:
        """``‖F_new − F_old Wᵀ‖²``."""
        D = linear_map - self.unit
        return float(self.changed - 2 * (D * self.cross).sum() + ((D @ self.gram) * D).sum())
