"""Accuracy on every experience after every experience, as an Avalanche metric."""

from __future__ import annotations

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.plugins.experience import classes_of

Matrix = list[list[float | None]]


class AccuracyMatrices(PluginMetric[dict[str, Matrix]]):
    """Two accuracy matrices of a stream of experiences, and their entries for the loggers.

    ``class_incremental[i][j]``: test experience j after training experience i, where the classes of
    all experiences trained so far compete. ``task_aware[i][j]``: where only the classes of
    experience j do. ``None`` for j > i. Give it to an ``EvaluationPlugin`` and evaluate on the test
    experiences seen so far after each training experience; loggers get
    ``Top1_Acc_ClassIncremental`` and ``Top1_Acc_TaskAware`` with the experience's number.

    Args:
        experiences: how many the stream has.

    Example:
        >>> accuracy = AccuracyMatrices(experiences=10)
        >>> len(accuracy.result()["task_aware"])
        10
    """

    def __init__(self, experiences: int) -> None:
        super().__init__()
        self.class_incremental: Matrix = [[None] * experiences for _ in range(experiences)]
        self.task_aware: Matrix = [[None] * experiences for _ in range(experiences)]
        self._trained = -1
        self._seen: set[int] = set()
        self._classes: set[int] = set()
        self._right: dict[str, int] = {}
        self._count = 0

    def result(self) -> dict[str, Matrix]:
        """Both matrices by name."""
        return {"class_incremental": self.class_incremental, "task_aware": self.task_aware}

    def reset(self) -> None:
        """Forget the experience being evaluated; the matrices stay."""
        self._right = {"class_incremental": 0, "task_aware": 0}
        self._count = 0

    def before_training_exp(self, strategy: SupervisedTemplate) -> None:
        """Another row begins, and more classes compete."""
        self._trained += 1
        self._seen |= classes_of(strategy.experience)

    def before_eval_exp(self, strategy: SupervisedTemplate) -> None:
        """Another entry begins."""
        self.reset()
        self._classes = classes_of(strategy.experience)

    def after_eval_iteration(self, strategy: SupervisedTemplate) -> None:
        """Count right answers."""
        logits, targets = strategy.mb_output, strategy.mb_y
        self._right["class_incremental"] += _right(logits, targets, self._seen)
        self._right["task_aware"] += _right(logits, targets, self._classes)
        self._count += len(targets)

    def after_eval_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Enter both accuracies, and pass them to the loggers."""
        i, j = self._trained, strategy.experience.current_experience
        values = []
        for name, matrix in self.result().items():
            accuracy = self._right[name] / self._count
            if i >= j:
                matrix[i][j] = accuracy
            title = f"Top1_Acc_{''.join(word.title() for word in name.split('_'))}"
            tag = f"{title}/eval_phase/{strategy.experience.origin_stream.name}_stream/Exp{j:03d}"
            values.append(MetricValue(self, tag, accuracy, strategy.clock.train_iterations))
        return values

    def __str__(self) -> str:
        return "AccuracyMatrices"


def _right(logits: Tensor, targets: Tensor, classes: set[int]) -> int:
    """How many targets have the highest logit among the given classes."""
    allowed = sorted(classes)
    best = logits[:, allowed].argmax(dim=1)
    return int((torch.tensor(allowed, device=targets.device)[best] == targets).sum())
