"""Heads that are trained on samples of the class Gaussians, as SLCA aligns its classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from avl_pegp.heads.checks import require_above, require_count
from avl_pegp.heads.gaussians import ClassGaussians
from avl_pegp.heads.statistics import Scores

_BATCH = 256
_LR, _MOMENTUM = 1e-2, 0.9


class Aligned(ClassGaussians):
    """A linear head that is trained to tell samples of all class Gaussians apart.

    In each epoch samples are drawn anew, as many of each class, and cross entropy is brought down on
    ``(z / ‖z‖) / temperature``, of which z are the logits: SGD with momentum, whose rate of 0.01 falls
    as a cosine. Training is in whitened features, which a linear head undoes, so that the rate fits
    features of any size; it begins from linear discriminant analysis, with logits of about 1. Equal
    statistics give equal heads; global random states are left alone.

    The paper's head is that of the network, its logits are normalised task by task, which statistics
    know nothing of, and its means are drawn in as they age: drift is the matter of ``move`` here.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        samples: drawn of a class in an epoch.
        epochs: of training.
        temperature: of the normalised logits, above 0.
        seed: of the samples and their order.
        shrinkage: of the covariances; see ``ClassGaussians``.
        prior: likewise.

    Raises:
        ValueError: an argument out of range; of logits, as ``ClassGaussians``.

    Example:
        >>> head = Aligned(classes=2, width=2)
        >>> head.update(torch.tensor([[0.0, -9], [0, 9], [1, -9], [1, 9]]), torch.tensor([0, 0, 1, 1]))
        >>> head.logits(torch.tensor([[0.9, -9.0]])).argmax().item()
        1

    Reference:
        Zhang et al. (2023), SLCA, arXiv 2303.05118, its classifier alignment.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        samples: int = 256,
        epochs: int = 5,
        temperature: float = 0.1,
        seed: int = 0,
        shrinkage: float = 0.01,
        prior: float | None = None,
    ) -> None:
        super().__init__(classes, width, shrinkage, prior)
        self.samples = require_count("samples", samples)
        self.epochs = require_count("epochs", epochs)
        self.temperature = require_above("temperature", temperature)
        self.seed = seed

    def _scores(self) -> Scores:
        seen, classes = self.counts.nonzero()[:, 0], len(self.counts)
        centre = self.means[seen].mean(0)
        shared = self.factor(self.covariance(self.shrinkage), "of all classes")

        def whitened(rows: Tensor) -> Tensor:
            solved: Tensor = torch.linalg.solve_triangular(shared, rows.mT, upper=False).mT
            return solved

        means = whitened(self.means[seen] - centre)
        factors = [whitened(L.mT) for L in self.factors().values()]
        weight, bias = self._trained(means, factors)

        def scores(x: Tensor) -> Tensor:
            found = x.new_zeros(len(x), classes)
            found[:, seen] = self._outputs(whitened(x - centre), weight, bias)
            return found

        return scores

    def _trained(self, means: Tensor, factors: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Weight and bias of the head.

        Args:
            means: of the classes.
            factors: of each class, Lᵀ where ``L Lᵀ`` is the covariance.
        """
        generator = torch.Generator().manual_seed(self.seed)
        size = means.square().sum(1)
        labels = torch.arange(len(means)).repeat_interleave(self.samples)
        with torch.inference_mode(False), torch.enable_grad():
            scale = 1 / size.mean().clamp_min(torch.finfo(size.dtype).tiny)
            weight, bias = Parameter(scale * means), Parameter(-scale * size / 2)
            optimizer = SGD([weight, bias], lr=_LR, momentum=_MOMENTUM)
            schedule = CosineAnnealingLR(optimizer, self.epochs)
            for _ in range(self.epochs):
                x = torch.cat(
                    [self._drawn(*g, generator) for g in zip(means, factors, strict=True)]
                )
                for batch in torch.randperm(len(x), generator=generator).split(_BATCH):
                    logits = self._training_logits(x[batch], weight, bias)
                    optimizer.zero_grad()
                    F.cross_entropy(logits, labels[batch]).backward()
                    optimizer.step()
                schedule.step()
        return weight.detach(), bias.detach()

    def _drawn(self, mean: Tensor, factor: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(self.samples, len(mean), generator=generator, dtype=mean.dtype)
        return mean + noise @ factor

    def _training_logits(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.normalize(self._outputs(x, weight, bias), dim=1) / self.temperature

    def _outputs(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x @ weight.mT + bias


class AlignedCosine(Aligned):
    """The same with cosines for logits: ``logit_c = scale · cos(x, w_c)`` in whitened features.

    They are about the mean of all classes. Cosines are normalised as they are, so that cross entropy
    is taken of the logits themselves.

    Args:
        classes: rows of the logits.
        width: d, the features' width.
        scale: of the cosines, above 0.
        options: those of ``Aligned``, but for the temperature.

    Raises:
        ValueError: as ``Aligned``.

    Example:
        >>> head = AlignedCosine(classes=2, width=2)
        >>> head.update(torch.tensor([[0.0, -9], [0, 9], [1, -9], [1, 9]]), torch.tensor([0, 0, 1, 1]))
        >>> head.logits(torch.tensor([[0.9, -9.0]])).argmax().item()
        1

    Reference:
        Hou et al. (2019), Learning a unified classifier incrementally via rebalancing.
    """

    def __init__(self, classes: int, width: int, scale: float = 20.0, **options: Any) -> None:
        super().__init__(classes, width, **options)
        self.scale = require_above("scale", scale)

    def _outputs(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.scale * F.normalize(x, dim=1) @ F.normalize(weight, dim=1).mT

    def _training_logits(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self._outputs(x, weight, bias)
