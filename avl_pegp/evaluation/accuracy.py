"""Accuracy on every experience after every task, and what follows from it, as an Avalanche metric."""

from __future__ import annotations

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.evaluation.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
from avl_pegp.plugins.experience import classes_of, is_online, origin_of, require_samples

Matrix = list[list[float | None]]
VIEWS = {"class_incremental": "ClassIncremental", "task_aware": "TaskAware"}


class AccuracyMatrices(PluginMetric[dict[str, Matrix]]):
    """Two accuracy matrices of a stream of tasks, and the numbers that follow, for the loggers.

    ``class_incremental[i][j]``: test experience j after task i, where the classes of all tasks
    trained so far compete. ``task_aware[i][j]``: where only the classes of experience j do. ``None``
    for j > i: what is measured ahead is in ``ahead``, where j's own classes join those trained.

    A task is an experience, or what the pieces of an online stream were cut from, so that the
    numbers are right there too (Avalanche's forgetting takes each piece for a task, and gives 0).

    Give it to an ``EvaluationPlugin`` and evaluate on the test experiences seen so far after each
    task. Loggers get ``Top1_Acc_ClassIncremental`` and ``Top1_Acc_TaskAware`` with the experience's
    number, and for the stream ``AverageAccuracy``, ``Forgetting`` (best earlier minus last, as in
    the literature; Avalanche's is first minus last), ``BackwardTransfer`` and, where the whole test
    stream is evaluated before training and after each task, ``ForwardTransfer``, in both views.

    Args:
        tasks: how many the stream has.

    Attributes:
        initial: accuracies before any training; ``ahead``: on experience j right before task j. By
            view, where evaluated.
        measured: by view, entry ``[i][j]`` for all j that were evaluated, also those to come.

    Raises:
        ValueError: more tasks or test experiences than told, or a test experience without samples.

    Example:
        >>> accuracy = AccuracyMatrices(tasks=10)
        >>> len(accuracy.result()["task_aware"])
        10
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.class_incremental: Matrix = [[None] * tasks for _ in range(tasks)]
        self.task_aware: Matrix = [[None] * tasks for _ in range(tasks)]
        self.initial: dict[str, list[float | None]] = {view: [None] * tasks for view in VIEWS}
        self.ahead: dict[str, list[float | None]] = {view: [None] * tasks for view in VIEWS}
        empty: list[None] = [None] * tasks
        self.measured: dict[str, Matrix] = {v: [list(empty) for _ in range(tasks)] for v in VIEWS}
        self._trained = -1
        self._task: int | None = None
        self._seen: set[int] = set()
        self._competing: dict[str, set[int]] = {}
        self._right: dict[str, int] = {}
        self._count = 0

    def result(self) -> dict[str, Matrix]:
        """Both matrices by view."""
        return {"class_incremental": self.class_incremental, "task_aware": self.task_aware}

    def forward_transfer(self, view: str) -> float | None:
        """``ForwardTransfer`` of a view, ``None`` where it was not evaluated."""
        return forward_transfer(self.ahead[view], self.initial[view])

    def reset(self) -> None:
        """Forget the experience being evaluated; the matrices stay."""
        self._right = dict.fromkeys(VIEWS, 0)
        self._count = 0

    def before_training_exp(self, strategy: SupervisedTemplate) -> None:
        """With another task another row begins, and more classes compete."""
        task = origin_of(strategy.experience)
        if is_online(strategy.experience) and task.current_experience == self._task:
            return
        self._task = task.current_experience
        self._trained += 1
        self._require_entry(self._trained)
        self._seen |= classes_of(task)

    def before_eval_exp(self, strategy: SupervisedTemplate) -> None:
        """Another entry begins."""
        self.reset()
        require_samples(strategy.experience)
        j, own = strategy.experience.current_experience, classes_of(strategy.experience)
        self._require_entry(j)
        rivals = self._seen | own if j > self._trained else self._seen
        self._competing = {"class_incremental": rivals, "task_aware": own}

    def after_eval_iteration(self, strategy: SupervisedTemplate) -> None:
        """Count right answers."""
        logits, targets = strategy.mb_output, strategy.mb_y
        for view, classes in self._competing.items():
            self._right[view] += _right(logits, targets, classes)
        self._count += len(targets)

    def after_eval_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Enter both accuracies, and pass them to the loggers."""
        i, j = self._trained, strategy.experience.current_experience
        values = []
        for view, matrix in self.result().items():
            accuracy = self._right[view] / self._count
            if i >= 0:
                self.measured[view][i][j] = accuracy
            if i >= j:
                matrix[i][j] = accuracy
            elif i == -1:
                self.initial[view][j] = accuracy
            if i == j - 1:
                self.ahead[view][j] = accuracy
            tag = f"Top1_Acc_{VIEWS[view]}/{_stream_of(strategy)}/Exp{j:03d}"
            values.append(MetricValue(self, tag, accuracy, strategy.clock.train_iterations))
        return values

    def after_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Pass the numbers of the stream so far to the loggers, where its rows are complete."""
        size = self._trained + 1
        values = []
        for view, matrix in self.result().items():
            so_far = [row[:size] for row in matrix[:size]]
            if not so_far or any(so_far[i][j] is None for i in range(size) for j in range(i + 1)):
                continue
            numbers: dict[str, float | None] = {
                "AverageAccuracy": average_accuracy(so_far),
                "Forgetting": forgetting(so_far),
                "BackwardTransfer": backward_transfer(so_far),
                "ForwardTransfer": self.forward_transfer(view),
            }
            for name, number in numbers.items():
                if number is not None:
                    tag = f"{name}_{VIEWS[view]}/{_stream_of(strategy)}"
                    values.append(MetricValue(self, tag, number, strategy.clock.train_iterations))
        return values

    def _require_entry(self, index: int) -> None:
        tasks = len(self.task_aware)
        if index >= tasks:
            raise ValueError(
                f"tasks={tasks}, but here is number {index + 1}: give AccuracyMatrices the number of "
                "tasks, and evaluate on the test experiences alone"
            )

    def __str__(self) -> str:
        return "AccuracyMatrices"


def _stream_of(strategy: SupervisedTemplate) -> str:
    return f"eval_phase/{strategy.experience.origin_stream.name}_stream"


def _right(logits: Tensor, targets: Tensor, classes: set[int]) -> int:
    """How many targets have the highest logit among the given classes."""
    allowed = sorted(classes)
    best = logits[:, allowed].argmax(dim=1)
    return int((torch.tensor(allowed, device=targets.device)[best] == targets).sum())
