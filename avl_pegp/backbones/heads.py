"""Classifiers made of class statistics: no gradient, no samples, nothing recomputed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Rule = Literal["ncm", "lda"]


class ClassStatistics:
    """Class means and a shared covariance of features, stored when a class is learned.

    The statistics are never recomputed: they stay valid exactly as long as the features of old
    inputs do not drift. A class that recurs is merged with what is stored.

    ``ncm`` assigns to the nearest mean; ``lda`` to the nearest in the metric of the covariance Σ
    about the class means (linear discriminant analysis with equal priors),
    ``logit_c = x Σ⁻¹ μ_c − μ_c Σ⁻¹ μ_c / 2``. Σ is shrunk towards its mean variance.

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
        """Add features ``(B, d)`` with labels ``(B,)`` to the statistics.

        Raises:
            ValueError: NaN or infinite features; the statistics are then as they were.
        """
        if not torch.isfinite(features).all():
            raise ValueError("features are NaN or infinite: class statistics can't be made of them")
        for c in labels.unique().tolist():
            new = features[labels == c].detach().double().cpu()
            n, old = len(new), self.counts[c].item()
            mean = new.mean(0)
            gap = mean - self.means[c]
            # Chan's rule for merging two sets: scatter within each, and between their means.
            self.scatter += (new - mean).mT @ (new - mean)
            self.scatter += torch.outer(gap, gap) * (old * n / (old + n))
            self.means[c] += gap * (n / (old + n))
            self.counts[c] += n

    def make_room(self, classes: int) -> None:
        """Have rows for this many classes, as a classifier that has grown."""
        more = classes - len(self.counts)
        if more > 0:
            self.counts = F.pad(self.counts, (0, more))
            self.means = F.pad(self.means, (0, 0, 0, more))

    def logits(self, features: Tensor) -> Tensor:
        """``(B, d)`` → ``(B, C)`` in the features' dtype; −∞ for classes never seen."""
        x = features.detach().double().cpu()
        directions = self.means
        if self.rule == "lda":
            directions = torch.linalg.solve(self._covariance(), self.means.mT).mT
        logits = x @ directions.mT - (self.means * directions).sum(1) / 2
        return logits.masked_fill(self.counts == 0, float("-inf")).to(features)

    def _covariance(self) -> Tensor:
        """Σ; the unit matrix where no class has two samples."""
        d = len(self.scatter)
        unit = torch.eye(d, dtype=torch.float64)
        freedom = self.counts.sum() - (self.counts > 0).sum()
        if freedom <= 0 or self.scatter.trace() == 0:
            return unit
        covariance = self.scatter / freedom
        return (1 - self.shrinkage) * covariance + self.shrinkage * covariance.trace() / d * unit
