"""A learned text context for every experience, instead of one for all."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from avl_pegp.pet.context import ContextEmbedding
from avl_pegp.pet.learned import LearnedRows
from avl_pegp.plugins.experience import classes_of
from avl_pegp.plugins.tasks import TaskPlugin


class ContextPerExperiencePlugin(TaskPlugin):
    """After each task its classes keep the ``Context`` as it is then; the next one trains another.

    The form that PGP gives CLIP. Prompts of old classes do not change any more: their features stay
    to the bit, where nothing else of the text side is trained. Classes that recur keep the context of
    their first task. What the optimizer remembers of a context goes with it.

    Plugins that change weights at the end of a task, as
    ``ZSCLPlugin`` does, stand before this one.

    Settled contexts need no projection, and a fresh one must not be held by what old prompts were:
    tell ``PEGPPlugin(exclude=("*.vectors.weight",))``.

    Reference: Qiao et al., Prompt Gradient Projection for Continual Learning (ICLR 2024).

    Raises:
        TypeError: at the start of training, a model without a ``Context``.
        ValueError: at the start of training, what ``TaskPlugin`` refuses; at the end of a task, a class
            without a name.

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

    without_boundaries = "share one Context by leaving the plugin out"

    def before_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse a model without a context; notice that another task begins."""
        _vectors_of(strategy.model)
        super().before_train_dataset_adaptation(strategy, **kwargs)

    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
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
