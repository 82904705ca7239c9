"""A moving average of the PET over tasks: the control that any projection must beat."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins.class_statistics import ClassStatisticsPlugin
from avl_pegp.plugins.experience import heads_of
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.tasks import TaskPlugin


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
            beside it, class statistics before it, a model that trains nothing below its classifier,
            or what ``TaskPlugin`` refuses.

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
        before = strategy.plugins[: strategy.plugins.index(self)]
        if any(isinstance(plugin, ClassStatisticsPlugin) for plugin in before):
            raise ValueError(
                "TaskAveragePlugin behind ClassStatisticsPlugin: statistics would be of the model "
                "before it is averaged; put it first: [TaskAveragePlugin(), ClassStatisticsPlugin()]"
            )
        _write(self._trained, _below_classifier(strategy))
        self._trained = {}

    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Average, and put the average into the model."""
        tensors = _below_classifier(strategy)
        self._trained = {name: p.detach().clone() for name, p in tensors.items()}
        last = self.average or self._trained
        self.average = {n: last[n].lerp(w, self.alpha) for n, w in self._trained.items()}
        _write(self.average, tensors)


def _below_classifier(strategy: SupervisedTemplate) -> dict[str, nn.Parameter]:
    """The trained tensors below the classifier, by name."""
    heads = [f"{path}." for path in heads_of(strategy, None, may_be_frozen=True)]
    tensors = trainable_tensors(strategy.model)
    found = {n: p for n, p in tensors.items() if not any(n.startswith(head) for head in heads)}
    if not found:
        raise ValueError(
            f"TaskAveragePlugin: {type(strategy.model).__name__} trains nothing below its classifier; "
            "attach a PET first, or leave the plugin out"
        )
    return found


@torch.no_grad()
def _write(values: dict[str, Tensor], tensors: dict[str, nn.Parameter]) -> None:
    for name, value in values.items():
        tensors[name].copy_(value)
