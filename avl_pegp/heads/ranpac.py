"""RanPAC: ridge regression on a random, rectified projection of features."""

from __future__ import annotations

import torch
from torch import Tensor

from avl_pegp.heads.checks import require_above, require_count
from avl_pegp.heads.gaussians import ClassGaussians
from avl_pegp.heads.statistics import Scores, longer

_RIDGES = [10.0**power for power in range(-6, 3)]  # to choose from; below, rounding would choose

_OF_MAP = 1e-3  # ridge of the map of hidden features, of their mean square


class RanPAC(ClassGaussians):
    """Regresses classes on a random projection of features, ``h = max(0, x R)``.

    ``logits = h (G + λ I)⁻¹ Q`` with the Gram matrix ``G = Σ hᵀ h`` and the sums ``Q = Σ hᵀ y`` of all
    samples, y one-hot: both add up, so that nothing is recomputed. λ is a share of the mean eigenvalue
    of G. Where none is given it is chosen by generalised cross-validation, which needs G, Q and the
    counts alone.

    ``move`` can't map h exactly, which is not linear in features. Of samples of the class Gaussians,
    which are stored for that, it learns how h changes: ``h ← T h + e``, T linear and near the identity.
    G and Q are then those of such h: ``T G Tᵀ + Σ e eᵀ``, ``Q Tᵀ + Σ e``. What Gaussians miss of the
    features stays, and a map near the identity changes little.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        projection: M, the width of h.
        ridge: λ as a share of ``tr(G) / M``, above 0; ``None`` to have it chosen.
        seed: of R, and of the samples drawn by ``move``.
        samples: how many ``move`` draws of a class.
        shrinkage: of the covariances that it draws by; see ``ClassGaussians``.
        prior: likewise.

    Raises:
        ValueError: an argument out of range; features too large for their squares; of ``move``, as
            ``ClassGaussians``.

    Example:
        >>> head = RanPAC(classes=2, width=2, projection=50)
        >>> x = torch.tensor([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])  # no line divides them
        >>> head.update(x, torch.tensor([0, 0, 1, 1]))
        >>> head.logits(x).argmax(1)
        tensor([0, 0, 1, 1])

    Reference:
        McDonnell et al. (2023), RanPAC, arXiv 2307.02251, whose λ is chosen by held-out samples. Golub,
        Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
        parameter.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        projection: int = 2000,
        ridge: float | None = None,
        seed: int = 0,
        samples: int = 256,
        shrinkage: float = 0.01,
        prior: float | None = None,
    ) -> None:
        super().__init__(classes, width, shrinkage, prior)
        M = require_count("projection", projection)
        self.ridge = None if ridge is None else require_above("ridge", ridge)
        self.samples = require_count("samples", samples)
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.directions = torch.randn(width, M, generator=generator, dtype=torch.float64)
        self.gram = torch.zeros(M, M, dtype=torch.float64)
        self.sums = torch.zeros(classes, M, dtype=torch.float64)
        # As they were gathered: λ is chosen by samples, not by what a move estimates of them.
        self.unmoved_gram, self.unmoved_sums = self.gram.clone(), self.sums.clone()

    def _add(self, x: Tensor, y: Tensor) -> None:
        h = self._projected(x)
        if not (self.gram.trace() + h.square().sum()).isfinite():
            raise ValueError("features are so large that their covariance is infinite: scale them")
        super()._add(x, y)
        for gram, sums in ((self.gram, self.sums), (self.unmoved_gram, self.unmoved_sums)):
            gram.addmm_(h.mT, h)
            sums.index_add_(0, y, h)

    def _grow(self, more: int) -> None:
        super()._grow(more)
        self.sums, self.unmoved_sums = longer(self.sums, more), longer(self.unmoved_sums, more)

    def _move(self, W: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed + 1)
        # Of samples of the Gaussians: h, and d, by how much the map changes it.
        hh, dh, dd = (torch.zeros_like(self.gram) for _ in range(3))
        h_sums, d_sums = torch.zeros_like(self.sums), torch.zeros_like(self.sums)
        for c, L in self.factors().items():
            noise = torch.randn(self.samples, len(L), generator=generator, dtype=L.dtype)
            x = self.means[c] + noise @ L.mT
            h = self._projected(x)
            d = self._projected(x @ W.mT) - h
            weight = self.counts[c].item() / self.samples
            for moment, rows in ((hh, h), (dh, d)):
                moment.addmm_(rows.mT, h, alpha=weight)
            dd.addmm_(d.mT, d, alpha=weight)
            h_sums[c], d_sums[c] = weight * h.sum(0), weight * d.sum(0)
        super()._move(W)
        unit = torch.eye(len(hh), dtype=hh.dtype)
        size = hh.diagonal().mean().clamp_min(torch.finfo(hh.dtype).tiny)
        S = torch.linalg.solve(hh + _OF_MAP * size * unit, dh.mT).mT  # d is S h, and a rest
        T = unit + S
        rest = dd - S @ dh.mT - dh @ S.mT + S @ hh @ S.mT
        self.gram = T @ self.gram @ T.mT + rest
        self.sums = self.sums @ T.mT + d_sums - h_sums @ S.mT

    def _scores(self) -> Scores:
        M = len(self.gram)
        ridge = self._share() * self.gram.trace().clamp_min(torch.finfo(self.gram.dtype).tiny) / M
        unit = torch.eye(M, dtype=self.gram.dtype)
        weight = torch.linalg.solve(self.gram + ridge * unit, self.sums.mT)
        return lambda x: self._projected(x) @ weight

    def _share(self) -> float:
        """λ as a share of G's mean eigenvalue: as given, or of the least cross-validated error."""
        if self.ridge is not None:
            return self.ridge
        values, vectors = torch.linalg.eigh(self.unmoved_gram)
        values, parts = values.clamp_min(0), self.unmoved_sums @ vectors
        size = values.mean().clamp_min(torch.finfo(values.dtype).tiny)  # 0 where all h are
        n = self.counts.sum()

        def error(share: float) -> float:
            """``N ‖Y − H W‖² / (N − tr H (G + λ I)⁻¹ Hᵀ)²``, along G's eigenvectors."""
            ridge = share * size
            fitted = parts.square() * (values + 2 * ridge) / (values + ridge).square()
            free = n - (values / (values + ridge)).sum()
            return float(n * (n - fitted.sum()) / free.square())

        return min(_RIDGES, key=error)

    def _projected(self, x: Tensor) -> Tensor:
        return (x @ self.directions).relu()
