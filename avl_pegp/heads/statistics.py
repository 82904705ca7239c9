"""What heads on class statistics share: what is stored of features, and what can become of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from avl_pegp.heads.checks import checked_features, checked_labels, checked_map

Scores = Callable[[Tensor], Tensor]  # float64 features (B, d) → scores (B, C)


class ClassStatistics(ABC):
    """A classifier of class means and covariances: no sample is kept, nothing is recomputed.

    The statistics stay valid exactly as long as the features of old inputs do not drift; a drift that
    is known as a linear map, ``move`` makes good. A class that recurs is merged with what is stored.
    In which batches and in which order samples came makes no difference but for rounding.

    A head says what it makes of them in ``_scores``, for classes that were seen. That is done once
    they are asked for, and again after they have changed; copies do it anew.

    Args:
        classes: rows of the logits.
        width: d, the features' width.

    Attributes:
        per_class: whether each class has a scatter of its own, or all share one.
        counts: ``(C,)``, samples of each class.
        means: ``(C, d)``; 0 for classes never seen.
        scatters: ``(C, d, d)``, or ``(1, d, d)`` of all: ``Σ (x − μ_c)(x − μ_c)ᵀ``.

    Example:
        >>> from avl_pegp.heads import NearestMean
        >>> statistics = NearestMean(classes=3, width=2)
        >>> statistics.update(torch.tensor([[0.0, 1.0], [4.0, 0.0]]), torch.tensor([0, 2]))
        >>> statistics.logits(torch.tensor([[3.0, 0.0]])).argmax().item()
        2
    """

    per_class: ClassVar[bool] = False

    def __init__(self, classes: int, width: int) -> None:
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.means = torch.zeros(classes, width, dtype=torch.float64)
        slots = classes if self.per_class else 1
        self.scatters = torch.zeros(slots, width, width, dtype=torch.float64)
        self._made: Scores | None = None

    @abstractmethod
    def _scores(self) -> Scores:
        """What scores features, where some class was seen; rows of others are not looked at."""

    @property
    def scatter(self) -> Tensor:
        """``(d, d)``, that of all classes about their means."""
        return self.scatters.sum(0)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``(B, d)`` with whole labels ``(B,)`` to the statistics.

        Raises:
            ValueError: features of another shape, NaN, infinite, or too large for their squares;
                another number of labels, or labels that are no whole numbers from 0 to ``classes``
                − 1. The statistics are then as they were.
        """
        x = checked_features(features, self.means.shape[1])
        self._add(x, checked_labels(labels, len(features), len(self.counts)))

    def _add(self, x: Tensor, y: Tensor) -> None:
        counts, means = self.counts.clone(), self.means.clone()
        scatters: dict[int, Tensor] = {}
        for c in y.unique().tolist():
            new = x[y == c]
            n, old = len(new), counts[c].item()
            mean = new.mean(0)
            gap = mean - means[c]
            slot = c if self.per_class else 0
            scatter = scatters[slot] if slot in scatters else self.scatters[slot].clone()
            # Chan's rule for merging two sets: scatter within each, and between their means.
            scatter += (new - mean).mT @ (new - mean)
            scatter += torch.outer(gap, gap) * (old * n / (old + n))
            scatters[slot] = scatter
            means[c] += gap * (n / (old + n))
            counts[c] += n
        if not all(scatter.isfinite().all() for scatter in scatters.values()):
            raise ValueError("features are so large that their covariance is infinite: scale them")
        self.counts, self.means, self._made = counts, means, None
        for slot, scatter in scatters.items():
            self.scatters[slot] = scatter

    def make_room(self, classes: int) -> None:
        """Have rows for this many classes, as a classifier that has grown."""
        more = classes - len(self.counts)
        if more > 0:
            self._grow(more)

    def _grow(self, more: int) -> None:
        self.counts, self.means = longer(self.counts, more), longer(self.means, more)
        if self.per_class:
            self.scatters = longer(self.scatters, more)
        self._made = None

    def move(self, linear_map: Tensor) -> None:
        """Have the statistics of features that were mapped, ``x ← W x``: ``μ ← W μ``, ``Σ ← W Σ Wᵀ``.

        Args:
            linear_map: W, ``(d, d)``, as a drift of features is estimated; the identity changes
                nothing.

        Raises:
            ValueError: a map of another shape, NaN, infinite, or one that makes statistics infinite.
                They are then as they were.
        """
        W = checked_map(linear_map, self.means.shape[1])
        if not torch.equal(W, torch.eye(len(W), dtype=W.dtype)):
            self._move(W)

    def _move(self, W: Tensor) -> None:
        means, scatters = self.means @ W.mT, W @ self.scatters @ W.mT
        if not (means.isfinite().all() and scatters.isfinite().all()):
            raise ValueError("linear_map makes the statistics infinite: scale it")
        self.means, self.scatters, self._made = means, (scatters + scatters.mT) / 2, None

    def logits(self, features: Tensor) -> Tensor:
        """``(B, d)`` → ``(B, C)``; −∞ for classes never seen.

        They are float64 for features in float64, and float32 for all others: half precision would
        round away what tells classes apart.

        Raises:
            ValueError: features of another shape, NaN or infinite; or what the head says of its own.
        """
        x = checked_features(features, self.means.shape[1])
        if self._made is None and self.counts.any():
            self._made = self._scores()
        scores = x.new_zeros(len(x), len(self.counts)) if self._made is None else self._made(x)
        dtype = torch.promote_types(features.dtype, torch.float32)
        logits = scores.masked_fill(self.counts == 0, float("-inf"))
        return logits.to(dtype).to(features.device)

    def covariance(self, shrinkage: float = 0.0) -> Tensor:
        """Σ about the class means, of all classes; the unit matrix where no class has two samples."""
        scatter = self.scatter
        freedom = self.counts.sum() - (self.counts > 0).sum()
        if freedom <= 0 or scatter.trace() == 0:
            return torch.eye(len(scatter), dtype=scatter.dtype)
        return shrunk(scatter / freedom, shrinkage)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None}


def longer(tensor: Tensor, more: int) -> Tensor:
    """With so many zeros behind, along the first axis."""
    return torch.cat([tensor, tensor.new_zeros(more, *tensor.shape[1:])])


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """``(1 − s) Σ + s tr(Σ)/d I``, drawn to the mean variance."""
    d = len(covariance)
    unit = torch.eye(d, dtype=covariance.dtype)
    return (1 - shrinkage) * covariance + shrinkage * covariance.trace() / d * unit
