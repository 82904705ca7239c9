"""A moving average of the PET over tasks: the control that any projection must beat."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.pet.trainable import classifier_of, trainable_tensors
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.tasks import TaskPlugin
from avl_pegp.wrappers import unwrapped


class TaskAveragePlugin(TaskPlugin):
    """Evaluates with a moving average of the PET over tasks, and trains on from the PET itself.

    ``M ← M + α (w − M)`` after each task, w what training left; the first task's M is its w. It is put
    into the model for evaluation, and for what other plugins gather then, and w comes back before the
    next task. The classifier is as it was trained. Give it before ``ClassStatisticsPlugin``.

    Args:
        alpha: α, share of the newest task, above 0 and at most 1, which averages nothing.

    Attributes:
        average: M, by the name of the tensor.

    Raises:
        ValueError: ``alpha`` outside that; at the start of training, a ``PEGPPlugin`` that projects
            beside it, a model without PETs, or what ``TaskPlugin`` refuses.

    Example:
        >>> TaskAveragePlugin(0.3).alpha  # Naive(..., plugins=[this, ClassStatisticsPlugin("lda")])
        0.3

    Reference:
        Wortsman et al. (2022), Robust fine-tuning of zero-shot models, arXiv 2109.01903, for one task.
    """

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__()
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha={alpha!r}: must be above 0 and at most 1")
        self.alpha = alpha
        self.average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}

    def task_begins(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put back what training left, where an average stands in its place."""
        if any(
            isinstance(p, PEGPPlugin) and p.pegp.settings.project != "none"
            for p in strategy.plugins
        ):
            raise ValueError(
                "TaskAveragePlugin beside a PEGPPlugin: what is projected is a step, and it takes an "
                "average for one; leave one of them out"
            )
        _write(self._trained, _pet_tensors(strategy.model))
        self._trained = {}

    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Average, and put the average into the model."""
        tensors = _pet_tensors(strategy.model)
        self._trained = {name: p.detach().clone() for name, p in tensors.items()}
        last = self.average or self._trained
        self.average = {n: last[n].lerp(w, self.alpha) for n, w in self._trained.items()}
        _write(self.average, tensors)


def _pet_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained tensors below the classifier, by name."""
    classifier = set(classifier_of(unwrapped(model)).parameters())
    return {n: p for n, p in trainable_tensors(model).items() if p not in classifier}


@torch.no_grad()
def _write(values: dict[str, Tensor], tensors: dict[str, nn.Parameter]) -> None:
    for name, value in values.items():
        tensors[name].copy_(value)
