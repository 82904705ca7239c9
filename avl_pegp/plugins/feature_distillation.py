"""Distillation of features: what the classifier receives on new images stays near what it was."""

from __future__ import annotations

from typing import Any

from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.plugins.classifier_input import ClassifierInput
from avl_pegp.plugins.experience import around_next_forward
from avl_pegp.plugins.last_task import LastTaskPlugin, as_taught
from avl_pegp.projection.heads import Classifier


class FeatureDistillationPlugin(LastTaskPlugin):
    """Keeps the classifier's input on new images near what the last task's model gives.

    ``loss + strength · Σ ‖f − f_old‖² / Σ ‖f_old‖²`` over the minibatch. The teacher is the same
    model in eval mode with the trainable tensors that the last task left, at the cost of one forward
    pass more.

    Args:
        strength: weight of the loss, finite and at least 0.
        classifier: path of the linear classifier; ``None`` has it found, as ``PEGP`` does.

    Raises:
        ValueError: as ``LastTaskPlugin``; in training, a model whose classifier is not found, or that
            has several.

    Example:
        >>> FeatureDistillationPlugin(1.0).strength  # Naive(..., plugins=[this, PEGPPlugin()])
        1.0
    """

    def __init__(self, strength: float, classifier: Classifier = None) -> None:
        super().__init__(strength)
        self._input = ClassifierInput(classifier)

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Find the classifier."""
        super().before_training_exp(strategy, **kwargs)
        self._input.find(strategy)
        if len(self._input.paths) > 1:
            raise ValueError(
                f"FeatureDistillationPlugin with the classifiers {', '.join(self._input.paths)}: must "
                "be one linear layer; name its path by classifier="
            )

    def before_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch what the classifier receives."""
        if self.anchor:
            around_next_forward(strategy, self._input.watching(strategy.model))

    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """The squared distance of features, relative to what they were."""
        now = self._features(strategy)
        with self._input.watching(strategy.model):
            as_taught(strategy.model, self.anchor, strategy.mb_x)
        then = self._features(strategy)
        return (now - then).square().sum() / then.square().sum()

    def _features(self, strategy: SupervisedTemplate) -> Tensor:
        (features,) = self._input.taken(len(strategy.mb_x)).values()
        return features
