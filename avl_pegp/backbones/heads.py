"""Classifiers made of class statistics: no gradient, no samples, nothing recomputed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Rule = Literal["ncm", "lda"]
_REGULAR = 1e-10  # of shrinkage from here on, Σ can be inverted in float64


class ClassStatistics:
    """Class means and a shared covariance of features, stored when a class is learned.

    The statistics are never recomputed: they stay valid exactly as long as the features of old
    inputs do not drift. A class that recurs is merged with what is stored.

    ``ncm`` assigns to the nearest mean; ``lda`` to the nearest in the metric of the covariance Σ
    about the class means (linear discriminant analysis with equal priors),
    ``logit_c = x Σ⁻¹ μ_c − μ_c Σ⁻¹ μ_c / 2``. Σ is shrunk towards its mean variance. Without
    shrinkage Σ may be singular; where the means differ only in directions in which classes vary,
    the pseudoinverse stands for Σ⁻¹, and elsewhere distances would be infinite.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        rule: ``"lda"`` or ``"ncm"``.
        shrinkage: share of the mean variance in Σ, in [0, 1].

    Raises:
        ValueError: an unknown rule, or a shrinkage out of range.

    Example:
        >>> statistics = ClassStatistics(classes=3, width=2, rule="ncm")
        >>> statistics.update(torch.tensor([[0.0, 1.0], [4.0, 0.0]]), torch.tensor([0, 2]))
        >>> statistics.logits(torch.tensor([[3.0, 0.0]])).argmax().item()
        2
    """

    def __init__(
        self, classes: int, width: int, rule: Rule = "lda", shrinkage: float = 0.01
    ) -> None:
        if rule not in get_args(Rule):
            raise ValueError(f"rule={rule!r}: must be one of {', '.join(get_args(Rule))}")
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage={shrinkage!r}: must be from 0 to 1")
        self.rule, self.shrinkage = rule, shrinkage
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.means = torch.zeros(classes, width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``(B, d)`` with whole labels ``(B,)`` to the statistics.

        Raises:
            ValueError: features of another shape, NaN, infinite, or too large for their squares;
                another number of labels, or labels that are no whole numbers from 0 to ``classes``
                − 1. The statistics are then as they were.
        """
        x, y = self._checked(features), self._checked_labels(labels, len(features))
        counts, means, scatter = self.counts.clone(), self.means.clone(), self.scatter.clone()
        for c in y.unique().tolist():
            new = x[y == c]
            n, old = len(new), counts[c].item()
            mean = new.mean(0)
            gap = mean - means[c]
            # Chan's rule for merging two sets: scatter within each, and between their means.
            scatter += (new - mean).mT @ (new - mean)
            scatter += torch.outer(gap, gap) * (old * n / (old + n))
            means[c] += gap * (n / (old + n))
            counts[c] += n
        if not scatter.isfinite().all():
            raise ValueError("features are so large that their covariance is infinite: scale them")
        self.counts, self.means, self.scatter = counts, means, scatter

    def logits(self, features: Tensor) -> Tensor:
        """``(B, d)`` → ``(B, C)``; −∞ for classes never seen.

        They are float64 for features in float64, and float32 for all others: half precision would
        round away what tells classes apart.

        Raises:
            ValueError: features of another shape, NaN or infinite; ``shrinkage=0`` where class means
                differ in a direction in which no class varies.
        """
        x = self._checked(features)
        directions = self.means if self.rule == "ncm" else self._discriminants()
        logits = x @ directions.mT - (self.means * directions).sum(1) / 2
        dtype = torch.promote_types(features.dtype, torch.float32)
        logits = logits.masked_fill(self.counts == 0, float("-inf"))
        return logits.to(dtype).to(features.device)

    def _discriminants(self) -> Tensor:
        """``(C, d)``, the rows Σ⁻¹ μ_c."""
        if self.shrinkage >= _REGULAR:
            solved: Tensor = torch.linalg.solve(self._covariance(), self.means.mT)
            return solved.mT
        values, vectors = torch.linalg.eigh(self._covariance())
        varies = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
        means = self.means @ vectors
        still = means[self.counts > 0][:, ~varies]
        gaps = (still - still[:1]).abs()
        if (gaps > 1e-9 * self.means.abs().max()).any():
            raise ValueError(
                f"shrinkage={self.shrinkage}: class means differ in directions in which no class "
                "varies, so that their distance is infinite; use a shrinkage above 0, such as 0.01"
            )
        inverted: Tensor = (means[:, varies] / values[varies]) @ vectors[:, varies].mT
        return inverted

    def _covariance(self) -> Tensor:
        """Σ; the unit matrix where no class has two samples."""
        d = len(self.scatter)
        unit = torch.eye(d, dtype=torch.float64)
        freedom = self.counts.sum() - (self.counts > 0).sum()
        if freedom <= 0 or self.scatter.trace() == 0:
            return unit
        covariance = self.scatter / freedom
        return (1 - self.shrinkage) * covariance + self.shrinkage * covariance.trace() / d * unit

    def _checked(self, features: Tensor) -> Tensor:
        """The features in float64, where statistics are."""
        width = len(self.scatter)
        if features.ndim != 2 or features.shape[1] != width:
            raise ValueError(f"features have shape {tuple(features.shape)}: must be (B, {width})")
        if not features.isfinite().all():
            raise ValueError("features are NaN or infinite: class statistics can't be made of them")
        return features.detach().double().cpu()

    def _checked_labels(self, labels: Tensor, size: int) -> Tensor:
        """The labels, where statistics are."""
        if labels.shape != (size,):
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}: must be ({size},), one for each of the "
                "features"
            )
        whole = not labels.is_floating_point() and not labels.is_complex()
        if not whole or labels.dtype is torch.bool:
            raise ValueError(f"labels are {labels.dtype}: must be whole numbers, as torch.int64")
        y, classes = labels.detach().cpu().long(), len(self.counts)
        wrong = y[(y < 0) | (y >= classes)].unique().tolist()
        if wrong:
            raise ValueError(
                f"labels hold {wrong[:5]}: must be from 0 to {classes - 1}, the rows of the classifier"
            )
        return y
