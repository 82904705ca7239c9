"""Linear classifiers of class means: nearest mean, and linear discriminant analysis."""

from __future__ import annotations

import torch
from torch import Tensor

from avl_pegp.heads.checks import require_share
from avl_pegp.heads.statistics import ClassStatistics, Scores

_REGULAR = 1e-10  # of shrinkage from here on, Σ can be inverted in float64


class NearestMean(ClassStatistics):
    """Assigns to the nearest class mean: ``logit_c = x μ_c − μ_c μ_c / 2``.

    Args:
        classes: rows of the logits.
        width: d, the features' width.

    Example:
        >>> head = NearestMean(classes=2, width=1)
        >>> head.update(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]))
        >>> head.logits(torch.tensor([[1.0], [3.0]])).argmax(1)
        tensor([0, 1])
    """

    def _scores(self) -> Scores:
        return _scored_by(self.means, self.means)


class LinearDiscriminant(ClassStatistics):
    """Assigns to the nearest mean in the metric of the covariance Σ that all classes share.

    Linear discriminant analysis with equal priors: ``logit_c = x Σ⁻¹ μ_c − μ_c Σ⁻¹ μ_c / 2``. Σ is
    shrunk towards its mean variance. Without shrinkage Σ may be singular; where the means differ only
    in directions in which classes vary, the pseudoinverse stands for Σ⁻¹, and elsewhere distances
    would be infinite.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        shrinkage: share of the mean variance in Σ, in [0, 1].

    Raises:
        ValueError: a shrinkage out of range; of logits, ``shrinkage=0`` where class means differ in a
            direction in which no class varies.

    Example:
        >>> head = LinearDiscriminant(classes=2, width=2)
        >>> head.update(torch.tensor([[0.0, -9], [0, 9], [1, -9], [1, 9]]), torch.tensor([0, 0, 1, 1]))
        >>> head.logits(torch.tensor([[0.9, -50.0]])).argmax().item()
        1
    """

    def __init__(self, classes: int, width: int, shrinkage: float = 0.01) -> None:
        super().__init__(classes, width)
        self.shrinkage = require_share("shrinkage", shrinkage)

    def _scores(self) -> Scores:
        return _scored_by(self._discriminants(), self.means)

    def _discriminants(self) -> Tensor:
        """``(C, d)``, the rows Σ⁻¹ μ_c."""
        if self.shrinkage >= _REGULAR:
            covariance = self.covariance(self.shrinkage)
            solved: Tensor = torch.linalg.solve(covariance, self.means.mT).mT
            return solved
        values, vectors = torch.linalg.eigh(self.covariance(self.shrinkage))
        varies = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
        means = self.means @ vectors
        still = means[self.counts > 0][:, ~varies]
        gaps = (still - still[:1]).abs()
        if (gaps > 1e-9 * self.means.abs().max()).any():
            raise ValueError(
                f"shrinkage={self.shrinkage}: class means differ in directions in which no class "
                "varies, so that their distance is infinite; use a shrinkage above 0, such as 0.01"
            )
        discriminants: Tensor = (means[:, varies] / values[varies]) @ vectors[:, varies].mT
        return discriminants


def _scored_by(directions: Tensor, means: Tensor) -> Scores:
    """Half-way between two means, their scores along the directions are equal."""
    offsets = (means * directions).sum(1) / 2
    return lambda x: x @ directions.mT - offsets
