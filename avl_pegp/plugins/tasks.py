"""Where tasks begin and end, and which model learns them: what plugins need that span several."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from avl_pegp.plugins.experience import is_online, require_samples, task_of
from avl_pegp.wrappers import named_root


class TaskPlugin(SupervisedPlugin[SupervisedTemplate]):
    """A plugin that is told where a task begins and ends, and that stays with one model.

    An ordinary experience is a task. In an online stream a task is what its pieces were cut from; it
    ends with its last piece, or else when a piece of another task comes.

    Attributes:
        without_boundaries: what to do in an online stream that does not tell its tasks, as the error
            says it; ``None`` where that is no error.

    Raises:
        ValueError: at the start of training, another model object than the one that was learned from,
            an experience without samples, or an online stream without task boundaries.
    """

    without_boundaries: str | None = "use a benchmark with boundaries"

    def __init__(self) -> None:
        super().__init__()
        self._pieces = Pieces()
        self._one_model = OneModel()

    def task_begins(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Called before anything of another task is trained on, and before the model grows for it."""

    @abstractmethod
    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Called when a task has been trained on, before any evaluation.

        Args:
            strategy: whose model has learned the task.
            task: the whole of it.
        """

    def before_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Notice that another task begins: the first event of an experience, no model touched yet."""
        self._one_model.require(type(self).__name__, strategy.model)
        require_samples(strategy.experience)
        task = task_of(strategy.experience)
        if task is None and self.without_boundaries is not None:
            raise ValueError(
                f"{type(self).__name__} must know where a task ends, and this online stream does not "
                f"tell: split it with access_task_boundaries=True, or {self.without_boundaries}"
            )
        last = self._pieces.task if self._pieces.count else None
        if self._pieces.begin(task):
            if last is not None:
                self.task_ends(strategy, last, **kwargs)
            self.task_begins(strategy, **kwargs)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """An ordinary experience is over; an online task may be."""
        self._one_model.learned(strategy.model)
        task = task_of(strategy.experience)
        if self._pieces.end(strategy.experience) and task is not None:
            self.task_ends(strategy, task, **kwargs)


class Pieces:
    """Tells where one task ends and the next begins, by the experiences that are trained on.

    An ordinary experience is a task, which ends with it. In an online stream the task is what its
    pieces were cut from; it ends with as many pieces as it was cut into, or else when a piece of
    another task comes. (The pieces' own ``is_last_subexp`` is never true where sizes divide evenly,
    and the end of ``strategy.train`` says nothing, as pieces may be given to it one by one.)

    Attributes:
        task: what is being learned, ``None`` in between, and where the learner must not know it.
        count: how many of its pieces have been learned.

    Example:
        >>> from avl_pegp.benchmarks import online_benchmark, split_digits
        >>> first, second, *_ = online_benchmark(split_digits(), batch_size=150).train_stream
        >>> pieces = Pieces()
        >>> for piece in (first, second):  # of one task
        ...     print(pieces.begin(piece.origin_experience), pieces.end(piece))
        True False
        False True
    """

    def __init__(self) -> None:
        self.task: DatasetExperience[Any] | None = None
        self.count = 0

    def begin(self, task: DatasetExperience[Any] | None) -> bool:
        """A piece of this task comes. Returns whether it is another than that of the last piece."""
        if task is self.task:
            return False
        self.task, self.count = task, 0
        return True

    def end(self, experience: DatasetExperience[Any]) -> bool:
        """The piece has been learned. Returns whether its task is over with it."""
        self.count += 1
        if is_online(experience):
            known = self.task is not None
            if not known or self.count != experience.sub_stream_length:
                return False
        self.task, self.count = None, 0  # no reference: plugins are copied, and saved
        return True


class OneModel:
    """Remembers which model its owner has learned from, and refuses another one.

    A model is the object, whatever wrapper runs it and whatever strategy trains it. Where plugin and
    model are copied or saved together, as in a strategy's checkpoint, they stay together.

    Example:
        >>> one, model = OneModel(), nn.Linear(2, 2)
        >>> one.learned(model)
        >>> one.require("EWCPlugin", nn.DataParallel(model))  # the same
    """

    def __init__(self) -> None:
        self._model: nn.Module | None = None

    def require(self, owner: str, model: nn.Module) -> None:
        """Raise ValueError for another model than the one that was learned from.

        Args:
            owner: what the message calls the owner.
            model: may be wrapped.
        """
        if self._model is not None and self._model is not named_root(model):
            raise ValueError(
                f"{owner} has learned from another model object, and what it knows is about that: give "
                "every run and every model a fresh one (of what it takes from one process to another, "
                "a strategy's checkpoint keeps plugin and model together)"
            )

    def learned(self, model: nn.Module) -> None:
        """From now on this is the one."""
        self._model = named_root(model)
