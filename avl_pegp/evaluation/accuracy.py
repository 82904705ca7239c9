"""Accuracy on every experience after every task, and what follows from it, as an Avalanche metric."""

from __future__ import annotations

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.evaluation import metrics
from avl_pegp.evaluation.accuracy_figures import accuracy_heat_map
from avl_pegp.evaluation.look import as_image
from avl_pegp.evaluation.metrics import Line, Matrix
from avl_pegp.plugins.experience import classes_of, is_online, origin_of, require_samples

VIEWS = {"class_incremental": "ClassIncremental", "task_aware": "TaskAware"}
_TITLES = {"class_incremental": "all classes so far compete", "task_aware": "those of its task"}


class AccuracyMatrices(PluginMetric[dict[str, Matrix]]):
    """Two accuracy matrices of a stream of tasks, and the numbers that follow, for the loggers.

    ``class_incremental[i][j]``: the test experience of the j-th task after the i-th, in the order of
    training, where the classes of all tasks trained so far compete. ``task_aware[i][j]``: where only
    the classes of that test experience do. ``None`` for j > i: what is measured ahead is in ``ahead``.

    A task is an experience, or what the pieces of an online stream were cut from, so that the
    numbers are right there too (Avalanche's forgetting takes each piece for a task, and gives 0). Its
    test experience is that of the same number. One that has other classes as well, such as a complete
    test set, is nobody's: it is logged, with its own classes among those that compete, and enters no
    matrix. So is what is measured while a task is being learned (``eval_every`` above 0), which
    plugins that work at its end have not finished. A task trained again counts from then on.

    Give it to an ``EvaluationPlugin`` and evaluate on the test experiences seen so far after each
    task. Loggers get ``Top1_Acc_ClassIncremental`` and ``Top1_Acc_TaskAware`` with the experience's
    number, and for the stream ``AverageAccuracy``, ``Forgetting`` (best earlier minus last, as in
    the literature; Avalanche's is first minus last), ``BackwardTransfer`` and, where the whole test
    stream is evaluated before training and after each task, ``ForwardTransfer``, in both views; none
    where an entry that it needs was not measured.

    Args:
        tasks: how many the stream has.
        stream: the name of the one whose test experiences the attributes are of. Others that are
            evaluated, for validation say, have matrices and logs of their own: see ``of``.

    Attributes:
        initial: accuracies before any training; ``ahead``: on the j-th task right before it. By
            view, where evaluated, once the task is trained.
        measured: by view, entry ``[i][j]`` for all j that were evaluated, also those to come.

    Raises:
        ValueError: more tasks than told, an experience of a number that had other classes before, a
            test experience without samples, or a class without a logit.

    Example:
        >>> accuracy = AccuracyMatrices(tasks=10)
        >>> len(accuracy.result()["task_aware"])
        10
    """

    def __init__(self, tasks: int, stream: str = "test") -> None:
        super().__init__()
        self.stream = stream
        self._tasks = metrics.TasksTrained(tasks)
        self._learning = False
        self._own: set[int] = set()
        self._competing: dict[str, set[int]] = {}
        self._right: dict[str, int] = {}
        self._count = 0
        self._evaluated: dict[str, None] = {}

    def result(self) -> dict[str, Matrix]:
        """Both matrices by view."""
        return self.of(self.stream)

    def of(self, stream: str) -> dict[str, Matrix]:
        """Both matrices by view, of the test experiences of another stream."""
        return {view: self._tasks.matrix(view, stream) for view in VIEWS}

    @property
    def class_incremental(self) -> Matrix:
        """The matrix where the classes of all tasks trained so far compete."""
        return self.result()["class_incremental"]

    @property
    def task_aware(self) -> Matrix:
        """The matrix where only the classes of the test experience compete."""
        return self.result()["task_aware"]

    @property
    def measured(self) -> dict[str, Matrix]:
        """The matrices with what was measured ahead."""
        return {view: self._tasks.measured(view, self.stream) for view in VIEWS}

    @property
    def initial(self) -> dict[str, Line]:
        """By view, accuracies before any training."""
        return {view: self._tasks.initial(view, self.stream) for view in VIEWS}

    @property
    def ahead(self) -> dict[str, Line]:
        """By view, the accuracy on each task right before it."""
        return {view: self._tasks.ahead(view, self.stream) for view in VIEWS}

    def forward_transfer(self, view: str) -> float | None:
        """``ForwardTransfer`` of a view, ``None`` where it was not evaluated."""
        return metrics.forward_transfer(self.ahead[view], self.initial[view])

    def reset(self) -> None:
        """Forget the experience being evaluated; the matrices stay."""
        self._right = dict.fromkeys(VIEWS, 0)
        self._count = 0

    def before_training_exp(self, strategy: SupervisedTemplate) -> None:
        """Begin a row for another task, whose classes compete from now on."""
        self._learning = True
        task = origin_of(strategy.experience)
        own = classes_of(task)
        shown = {int(y) for y in getattr(strategy.adapted_dataset, "targets", ())}
        joint = not shown <= own | self._tasks.seen
        self._tasks.begin(
            metrics.JOINT if joint else task.current_experience, own | shown if joint else own
        )

    def after_training_exp(self, strategy: SupervisedTemplate) -> None:
        """What is measured from now on is of the task."""
        self._learning = False

    def before_eval(self, strategy: SupervisedTemplate) -> None:
        """Forget which streams were evaluated."""
        self._evaluated = {}

    def before_eval_exp(self, strategy: SupervisedTemplate) -> None:
        """Begin an entry of the matrices: which classes compete, and nothing counted yet."""
        self.reset()
        require_samples(strategy.experience)
        self._own = classes_of(strategy.experience)
        competing = self._tasks.seen | self._own
        self._competing = {"class_incremental": competing, "task_aware": self._own}

    def after_eval_iteration(self, strategy: SupervisedTemplate) -> None:
        """Count right answers."""
        logits, targets = strategy.mb_output, strategy.mb_y
        for view, classes in self._competing.items():
            self._right[view] += _right(logits, targets, classes)
        self._count += len(targets)

    def after_eval_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Enter both accuracies, and pass them to the loggers."""
        experience, at = strategy.experience, strategy.clock.train_iterations
        stream, number = experience.origin_stream.name, experience.current_experience
        accuracy = {view: self._right[view] / self._count for view in VIEWS}
        if not self._learning and not is_online(experience):
            self._tasks.enter(stream, number, self._own, accuracy)
        self._evaluated[stream] = None
        place = f"eval_phase/{stream}_stream/Exp{number:03d}"
        return [
            MetricValue(self, f"Top1_Acc_{VIEWS[view]}/{place}", value, at)
            for view, value in accuracy.items()
        ]

    def after_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Pass the numbers of each stream so far to the loggers, where its rows are complete."""
        at = strategy.clock.train_iterations
        return [
            MetricValue(self, f"{name}_{VIEWS[view]}/eval_phase/{stream}_stream", number, at)
            for stream in self._evaluated
            for view in VIEWS
            for name, number in self._numbers(view, stream).items()
            if number is not None
        ]

    def _numbers(self, view: str, stream: str) -> dict[str, float | None]:
        """The numbers of a matrix so far by name; none where it has gaps."""
        size = len(self._tasks.trained)
        so_far = [row[:size] for row in self._tasks.matrix(view, stream)[:size]]
        if not so_far or any(None in row[: i + 1] for i, row in enumerate(so_far)):
            return {}
        ahead, initial = self._tasks.ahead(view, stream), self._tasks.initial(view, stream)
        return {
            "AverageAccuracy": metrics.average_accuracy(so_far),
            "Forgetting": metrics.forgetting(so_far),
            "BackwardTransfer": metrics.backward_transfer(so_far),
            "ForwardTransfer": metrics.forward_transfer(ahead, initial),
        }

    def __str__(self) -> str:
        return "AccuracyMatrices"


class AccuracyImage(PluginMetric[None]):
    """An image ``AccuracyMatrix`` after each evaluation: what the run's ``AccuracyMatrices`` holds.

    Nothing where ``AccuracyMatrices`` is not among the metrics, or nothing was trained yet.

    Example:
        >>> metrics = [AccuracyMatrices(tasks=10), AccuracyImage()]  # EvaluationPlugin(*metrics, ...)
    """

    def result(self) -> None:
        """Nothing: the image is for loggers alone."""

    def reset(self) -> None:
        """Nothing: the matrices are of the stream so far."""

    def after_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Draw the matrices."""
        found = [m for m in strategy.evaluator.metrics if isinstance(m, AccuracyMatrices)]
        if not found or strategy.experience is None:
            return []
        stream = strategy.experience.origin_stream.name
        matrices = found[0].of(stream)
        if matrices["task_aware"][0][0] is None:
            return []
        panels = {_TITLES[view]: [matrix] for view, matrix in matrices.items()}
        image = as_image(accuracy_heat_map(panels, "Accuracy"))
        tag = f"AccuracyMatrix/eval_phase/{stream}_stream"
        return [MetricValue(self, tag, image, strategy.clock.train_iterations)]

    def __str__(self) -> str:
        return "AccuracyImage"


def _right(logits: Tensor, targets: Tensor, classes: set[int]) -> int:
    """How many targets have the highest logit among the given classes."""
    allowed = sorted(classes)
    if allowed[-1] >= logits.shape[1]:
        raise ValueError(
            f"class {allowed[-1]} has no logit, as the model gives {logits.shape[1]}: give it a "
            "classifier with a row for each class"
        )
    best = logits[:, allowed].argmax(dim=1)
    return int((torch.tensor(allowed, device=targets.device)[best] == targets).sum())
