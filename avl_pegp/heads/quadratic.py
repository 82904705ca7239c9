"""Quadratic discriminant analysis: every class in the metric of its own covariance."""

from __future__ import annotations

import torch

from avl_pegp.heads.gaussians import ClassGaussians
from avl_pegp.heads.statistics import Scores


class QuadraticDiscriminant(ClassGaussians):
    """Assigns to the class whose Gaussian has the highest density.

    ``logit_c = −(x − μ_c) Σ_c⁻¹ (x − μ_c) / 2 − log det Σ_c / 2``, with equal priors. Σ_c is what
    ``ClassGaussians`` says. With a large ``prior`` it is linear discriminant analysis.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        shrinkage: share of the mean variance in Σ_c, in [0, 1].
        prior: for how many samples the covariance of all classes counts; ``None`` for d.

    Raises:
        ValueError: as ``ClassGaussians``.

    Example:
        >>> head = QuadraticDiscriminant(classes=2, width=1, prior=1)
        >>> x = torch.tensor([[-0.1], [0.1], [-5.0], [5.0]])  # narrow, and wide about the same mean
        >>> head.update(x, torch.tensor([0, 0, 1, 1]))
        >>> head.logits(torch.tensor([[0.0], [9.0]])).argmax(1)
        tensor([0, 1])

    Reference:
        Friedman (1989), Regularized discriminant analysis.
    """

    def _scores(self) -> Scores:
        factors, means, classes = self.factors(), self.means, len(self.counts)
        offsets = {c: L.diagonal().log().sum() for c, L in factors.items()}

        def scores(x: torch.Tensor) -> torch.Tensor:
            found = x.new_zeros(len(x), classes)
            for c, L in factors.items():
                whitened = torch.linalg.solve_triangular(L, (x - means[c]).mT, upper=False)
                found[:, c] = -whitened.square().sum(0) / 2 - offsets[c]
            return found

        return scores
