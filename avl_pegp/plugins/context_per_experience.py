"""A learned text context for every experience, instead of one for all."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from avl_pegp.pet.context import ContextEmbedding
from avl_pegp.pet.learned import LearnedRows
from avl_pegp.plugins.experience import classes_of, require_samples, task_of
from avl_pegp.plugins.one_model import OneModel
from avl_pegp.plugins.pieces import Pieces


class ContextPerExperiencePlugin(SupervisedPlugin[SupervisedTemplate]):
    """After each task its classes keep the ``Context`` as it is then; the next one trains another.

    The form that PGP gives CLIP. Prompts of old classes do not change any more: their features stay
    to the bit, where nothing else of the text side is trained. Classes that recur keep the context of
    their first task. What the optimizer remembers of a context goes with it.

    ``Pieces`` says when a task ends. Plugins that change weights at the end of a task, as
    ``ZSCLPlugin`` does, stand before this one.

    Settled contexts need no projection, and a fresh one must not be held by what old prompts were:
    tell ``PEGPPlugin(exclude=("*.vectors.weight",))``.

    Reference: Qiao et al., Prompt Gradient Projection for Continual Learning (ICLR 2024).

    Raises:
        TypeError: at the start of training, a model without a ``Context``.
        ValueError: at the start of training, another model object than the one that was learned from,
            or an online stream without task boundaries; at the end of a task, a class without a name.

    Example:
        >>> import torch
        >>> from avalanche.training.supervised import Naive
        >>> from avl_pegp import attach, create_clip, pet_parameters
        >>> from avl_pegp.pet import Context
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a", "digit two"])
        >>> handle = attach(model, Context(length=4))
        >>> optimizer = torch.optim.SGD(pet_parameters(model), lr=1e-2)
        >>> plugins = [ContextPerExperiencePlugin()]
        >>> strategy = Naive(model=model, optimizer=optimizer, plugins=plugins)
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces = Pieces()
        self._one_model = OneModel()

    def before_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Notice that another task begins; one that stopped halfway ends here."""
        self._one_model.require(type(self).__name__, strategy.model)
        require_samples(strategy.experience)
        _vectors_of(strategy.model)
        task = task_of(strategy.experience)
        if task is None:
            raise ValueError(
                "ContextPerExperiencePlugin must know where a task ends, and this online stream does "
                "not tell: split it with access_task_boundaries=True, or share one Context by leaving "
                "the plugin out"
            )
        last = self._pieces.task if self._pieces.count else None
        if self._pieces.begin(task) and last is not None:
            _settle(strategy, last)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """An ordinary experience is over; an online task may be."""
        self._one_model.learned(strategy.model)
        task = self._pieces.task
        if self._pieces.end(strategy.experience) and task is not None:
            _settle(strategy, task)


def _settle(strategy: SupervisedTemplate, task: DatasetExperience[Any]) -> None:
    """Let the task's classes keep the context, and forget how it was trained."""
    strategy.model.settle_context(classes_of(task))
    strategy.optimizer.state.pop(_vectors_of(strategy.model).weight, None)


def _vectors_of(model: nn.Module) -> LearnedRows:
    """The context that is trained.

    Raises:
        TypeError: the model has none.
    """
    for module in model.modules():
        if isinstance(module, ContextEmbedding):
            return module.vectors
    raise TypeError(
        f"ContextPerExperiencePlugin with a {type(model).__name__} without a Context: attach(model, "
        "Context(length)) to a model of create_clip first"
    )
