"""Quadratic penalties that hold trainable tensors where the last task left them: L2 and EWC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.arguments import require_positive
from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins.experience import predict, statistics_loader
from avl_pegp.plugins.last_task import LastTaskPlugin, old_part
from avl_pegp.plugins.progress import watched
from avl_pegp.projection.running import inference_state


def quadratic_penalty(
    tensors: Mapping[str, Tensor],
    anchor: Mapping[str, Tensor],
    importance: Mapping[str, Tensor] | Mapping[str, float],
) -> Tensor:
    """Σ importance · (tensor − anchor)² over all elements of all tensors.

    Args:
        tensors: by name. Rows that a tensor has gained since the anchor are left out.
        anchor: where they are drawn to.
        importance: weights, each of the anchor's shape or one number.

    Example:
        >>> here, there = {"w": torch.tensor([1.0, 3.0])}, {"w": torch.zeros(2)}
        >>> quadratic_penalty(here, there, {"w": torch.tensor([2.0, 0.5])}).item()
        6.5
    """
    parts = [
        (importance[name] * (old_part(tensors[name], then) - then).square()).sum()
        for name, then in anchor.items()
    ]
    return torch.stack(parts).sum()


def diagonal_fisher(
    model: nn.Module, samples: Iterable[Any], loss: Callable[[Any], Tensor]
) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher matrix: the mean of squared gradients.

    The model is in eval mode meanwhile. Modes, weights and ``grad`` are afterwards what they were.

    Args:
        model: its trainable tensors count.
        samples: one sample each, or the mean is over squared gradients of batches.
        loss: the loss of one of them.

    Returns:
        A tensor of each trainable tensor's shape, by name.

    Raises:
        ValueError: no sample, or NaN or infinite gradients.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> samples = torch.tensor([[1.0], [3.0]])
        >>> diagonal_fisher(model, samples, lambda x: model(x).sum())
        {'weight': tensor([[5.]])}
    """
    tensors = trainable_tensors(model)
    squares = {name: torch.zeros_like(p, requires_grad=False) for name, p in tensors.items()}
    count = 0
    with inference_state(model), torch.enable_grad():
        for sample in samples:
            gradients = torch.autograd.grad(
                loss(sample), list(tensors.values()), allow_unused=True, materialize_grads=True
            )
            for total, gradient in zip(squares.values(), gradients, strict=True):
                total.addcmul_(gradient, gradient)
            count += 1
    if not count:
        raise ValueError("samples is empty: the Fisher matrix is a mean over at least one")
    wrong = [name for name, total in squares.items() if not total.isfinite().all()]
    if wrong:
        raise ValueError(
            f"gradients of {', '.join(wrong)} are NaN or infinite: training has diverged; lower the "
            "learning rate or the strength"
        )
    return {name: total / count for name, total in squares.items()}


class L2Plugin(LastTaskPlugin):
    """Draws every trainable tensor θ to its value at the end of the last task.

    ``loss + strength · Σ (θ − θ_prev)²``, nothing in the first task: EWC with
    importance one for all. Rows of classes yet to come are held as all others.

    Args:
        strength: weight of the penalty, finite and at least 0.

    Raises:
        ValueError: see ``LastTaskPlugin``.

    Example:
        >>> L2Plugin(0.1).strength  # Naive(..., plugins=[this, PEGPPlugin()]), or alone
        0.1
    """

    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """Σ (θ − θ_prev)²."""
        ones = dict.fromkeys(self.anchor, 1.0)
        return quadratic_penalty(trainable_tensors(strategy.model), self.anchor, ones)


class EWCPlugin(LastTaskPlugin):
    """Elastic weight consolidation: draws back most what earlier tasks were most sensitive to.

    ``loss + strength/2 · Σ F (θ − θ_prev)²`` with F the diagonal of the Fisher matrix: the mean over
    a task's samples of the squared gradient of the strategy's criterion, one sample at a time, in
    eval mode under the evaluation transform. It is the empirical one: labels are the data's, so that
    any criterion serves and nothing is drawn.

    Over tasks there is one quadratic form: Fishers are summed, and the anchor is where the last task
    ended. That is what Laplace's approximation gives when applied again and again (Huszár, 2018,
    arXiv 1712.03847); an anchor for every task would count early tasks' data more than once, and
    grow with the stream. Each Fisher is a mean, so that tasks weigh the same whatever their size.

    Reference: Kirkpatrick et al., Overcoming catastrophic
    forgetting in neural networks (2017), arXiv 1612.00796.

    Args:
        strength: weight of the penalty, finite and at least 0.
        samples: training samples that feed a task's Fisher, ``None`` for all.
        progress: show a bar while they do.

    Raises:
        ValueError: ``samples`` is not a whole number from 1; for others see ``LastTaskPlugin``.

    Example:
        >>> EWCPlugin(100.0, samples=200).fisher  # Naive(..., plugins=[this, PEGPPlugin()])
        {}
    """

    def __init__(
        self, strength: float, samples: int | None = None, *, progress: bool = True
    ) -> None:
        super().__init__(strength)
        require_positive(self, samples=1 if samples is None else samples)
        self.samples = samples
        self.progress = progress
        self.fisher: dict[str, Tensor] = {}

    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """½ Σ F (θ − θ_prev)²."""
        return quadratic_penalty(trainable_tensors(strategy.model), self.anchor, self.fisher) / 2

    def learn(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Add the Fisher of the task that ended."""
        loader = statistics_loader(
            task, samples=self.samples, batch_size=1, num_workers=kwargs.get("num_workers", 0)
        )
        bar = watched(loader, "EWC: Fisher", self.progress)

        def loss(sample: Any) -> Tensor:
            value: Tensor = strategy._criterion(*predict(strategy, sample))
            return value

        fisher = diagonal_fisher(strategy.model, bar, loss)
        for name, earlier in self.fisher.items():
            old_part(fisher[name], earlier).add_(earlier)
        self.fisher = fisher
