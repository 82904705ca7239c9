"""A Gaussian for each class: its mean, and its own covariance as far as its samples tell it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avl_pegp.heads.checks import require_share
from avl_pegp.heads.statistics import ClassStatistics, shrunk


class ClassGaussians(ClassStatistics):
    """Class statistics in which each class has a covariance of its own, shrunk.

    ``Σ_c = a₁ S_c + a₂ S + a₃ v I``: the class's own covariance, that of all classes, and the mean
    variance v of the two together. S counts for as many samples as ``prior`` says, beside those of the
    class: ``a₁ = (1 − s) (n_c − 1) / (n_c − 1 + prior)``, ``a₂ = (1 − s) prior / (n_c − 1 + prior)``,
    and ``a₃ = s``, the shrinkage. So a class of one sample has S, and one of many nearly S_c. Of each
    class d² numbers are stored.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        shrinkage: s, share of the mean variance, in [0, 1].
        prior: for how many samples S counts; ``None`` for d, as S_c has d directions to estimate.

    Raises:
        ValueError: a shrinkage or a prior out of range; of logits, classes whose covariance is
            singular, as it may be with ``shrinkage=0``.

    Reference:
        Friedman (1989), Regularized discriminant analysis.
    """

    per_class = True

    def __init__(
        self, classes: int, width: int, shrinkage: float = 0.01, prior: float | None = None
    ) -> None:
        super().__init__(classes, width)
        self.shrinkage = require_share("shrinkage", shrinkage)
        self.prior = float(width) if prior is None else prior
        if not 0 <= self.prior < math.inf:
            raise ValueError(
                f"prior={prior!r}: must be a finite number of samples from 0 up, or None"
            )

    def factors(self) -> dict[int, Tensor]:
        """Of each class that was seen a lower triangular L with ``L Lᵀ = Σ_c``.

        Raises:
            ValueError: the covariance of one is singular.
        """
        shared, seen = self.covariance(), self.counts.nonzero()[:, 0].tolist()
        return {c: self.factor(self._mixed(c, shared), f"of class {c}") for c in seen}

    def factor(self, covariance: Tensor, whose: str) -> Tensor:
        """That of one covariance; an error says whose it is."""
        L: Tensor
        L, failed = torch.linalg.cholesky_ex(covariance)
        rounding = len(L) * torch.finfo(L.dtype).eps * covariance.diagonal().max()
        if failed or L.diagonal().square().min() <= rounding:
            raise ValueError(
                f"shrinkage={self.shrinkage}, prior={self.prior:g}: the covariance {whose} is singular, "
                "and distances infinite; use a shrinkage and a prior above 0, such as 0.01 and 1"
            )
        return L

    def _mixed(self, c: int, shared: Tensor) -> Tensor:
        """Σ_c."""
        freedom = self.counts[c].item() - 1
        own = self.scatters[c] + self.prior * shared
        return shrunk(own / (freedom + self.prior) if freedom else shared, self.shrinkage)
