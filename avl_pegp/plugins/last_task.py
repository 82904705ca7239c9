"""What methods have in common that hold on to the last task."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.func import functional_call

from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.tasks import TaskPlugin
from avl_pegp.projection.running import inference_state


class LastTaskPlugin(TaskPlugin):
    """Adds ``strength * penalty(...)`` to the loss from the second task on.

    A subclass says what the penalty is, and what more to learn of a task at its end. What the
    trainable tensors were then is kept as ``anchor``; of the frozen model nothing is copied.

    It adds to the loss, not to gradients, so that its place in the list of plugins is free.

    Args:
        strength: weight of the penalty, finite and at least 0.

    Raises:
        ValueError: ``strength`` outside that; at the start of training, what ``TaskPlugin`` refuses, a
            ``PEGPPlugin(rebase=True)`` beside it, or a model that no longer trains the same tensors. A
            tensor may gain rows, as a growing classifier's does: the new ones are free.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength={strength!r}: must be a finite number of at least 0")
        self.strength = strength
        self.anchor: dict[str, Tensor] = {}

    @abstractmethod
    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """The penalty of the current minibatch, a scalar. Asked for only where there is an anchor."""

    def learn(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Take what the penalty needs of a task that has just ended, before the anchor moves."""

    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Learn of the task, and move the anchor to where it left the model."""
        self.learn(strategy, task, **kwargs)
        self.anchor = snapshot(strategy.model)

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse a model that does not train what the anchor holds, or that will not stay so."""
        beside = [plugin for plugin in strategy.plugins if isinstance(plugin, PEGPPlugin)]
        if any(plugin.pegp.settings.rebase for plugin in beside):
            raise ValueError(
                f"{type(self).__name__} beside PEGP with rebase=True: what it remembers is about "
                "branches that a rebase replaces; use rebase=False with it"
            )
        if self.anchor:
            _require_same_tensors(self.anchor, trainable_tensors(strategy.model))

    def before_backward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add the penalty."""
        if self.anchor:
            strategy.loss = strategy.loss + self.strength * self.penalty(strategy)


def as_taught(model: nn.Module, anchor: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What the model of the last task answers, in eval mode and without gradients.

    Args:
        model: called with x alone.
        anchor: its trainable tensors as they were, by name.
        x: images.
    """
    with inference_state(model):
        # Rows that were gained since stand below the old ones: their logits are not asked for.
        tensors = {name: p.clone() for name, p in trainable_tensors(model).items()}
        for name, then in anchor.items():
            old_part(tensors[name], then).copy_(then)
        logits: Tensor = functional_call(model, tensors, (x,))
    return logits


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable tensors, by name."""
    return {name: p.detach().clone() for name, p in trainable_tensors(model).items()}


def old_part(now: Tensor, then: Tensor) -> Tensor:
    """The view of a tensor that was there before it gained rows: all of it where it gained none."""
    return now if now.shape == then.shape else now[: len(then)]


def _require_same_tensors(then: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> None:
    gone, new = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    if gone or new:
        raise ValueError(
            "what the model trains has changed since the last task: no longer "
            f"{', '.join(gone) or 'nothing'}, newly {', '.join(new) or 'nothing'}. Decide on it "
            "before the first task, or begin with a fresh plugin"
        )
    for name, tensor in now.items():
        old = then[name].shape
        if tensor.shape != old and (tensor.shape[1:] != old[1:] or tensor.shape[:1] < old[:1]):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} and had {tuple(old)} at the end of the last "
                "task: it may gain rows, but not change otherwise; begin with a fresh plugin"
            )
