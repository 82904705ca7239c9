"""A class-statistics classifier in Avalanche: learned after each experience, used in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.backbones.heads import ClassStatistics, Rule
from avl_pegp.plugins.experience import (
    is_online,
    own_samples,
    predict,
    require_samples,
    statistics_loader,
)
from avl_pegp.plugins.forward_pass import around_next_forward
from avl_pegp.plugins.one_model import OneModel
from avl_pegp.plugins.progress import watched
from avl_pegp.projection.classifier import find_classifier
from avl_pegp.projection.observing import inference_state


class ClassStatisticsPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Evaluate by class means (``ncm``) or means and shared covariance (``lda``).

    After an experience, what the classifier receives is averaged for each class over the training
    data, in eval mode under the evaluation transform. From then on evaluation's logits are those of
    ``ClassStatistics``; training is left as it is. The classes are rows of the model's classifier.

    In an online stream the training minibatches themselves feed the statistics (replayed samples
    excluded), with the features that they had then: each sample is seen once.

    Args:
        rule: ``"lda"`` or ``"ncm"``.
        classifier: path of the linear classifier, ``None`` for the model's ``get_classifier()``.
        progress: show a bar while statistics are gathered.

    Raises:
        ValueError: in training and evaluation, another model object than the one that statistics are
            about (``recompute`` takes any); at the start of training, a model without a linear
            classifier.

    Example:
        >>> ClassStatisticsPlugin("ncm").rule  # Naive(..., plugins=[PEGPPlugin(), this])
        'ncm'
    """

    def __init__(
        self, rule: Rule = "lda", classifier: str | None = None, *, progress: bool = True
    ) -> None:
        super().__init__()
        ClassStatistics(classes=1, width=1, rule=rule)  # refuses an unknown rule at once
        self.rule: Rule = rule
        self.classifier = classifier
        self.progress = progress
        self.statistics: ClassStatistics | None = None
        self._features: Tensor | None = None
        self._one_model = OneModel()

    def before_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse another model, and an empty experience before Avalanche trips over it."""
        self._one_model.require(type(self).__name__, strategy.model)
        require_samples(strategy.experience)

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse a model without a linear classifier before any time is spent."""
        self._layer(strategy.model)

    def before_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: watch the classifier's input while training."""
        if is_online(strategy.experience):
            around_next_forward(strategy, self._watching(strategy.model))

    def after_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: add this minibatch to the statistics."""
        if is_online(strategy.experience):
            statistics = self.statistics or self._new_statistics(strategy.model)
            own = own_samples(strategy)
            statistics.update(self._taken()[:own], strategy.mb_y[:own])
            self._take_over(statistics, strategy.model)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Store the statistics of this experience's classes."""
        if not is_online(strategy.experience):
            self._add(strategy, [strategy.experience], self.statistics, **kwargs)

    def recompute(
        self,
        strategy: SupervisedTemplate,
        experiences: Iterable[DatasetExperience[Any]],
        **kwargs: Any,
    ) -> None:
        """Forget the statistics and compute them anew from all of these experiences' data.

        A control, as it needs the old data: what it gains is what stale statistics lost, and what it
        does not win back is lost in the features.
        """
        self._add(strategy, experiences, None, **kwargs)

    def _add(
        self,
        strategy: SupervisedTemplate,
        experiences: Iterable[DatasetExperience[Any]],
        statistics: ClassStatistics | None,
        **kwargs: Any,
    ) -> None:
        """Take over statistics with the experiences added to them, once all went well."""
        statistics = copy.deepcopy(statistics) or self._new_statistics(strategy.model)
        size, workers = strategy.eval_mb_size, kwargs.get("num_workers", 0)
        with inference_state(strategy.model), self._watching(strategy.model):
            for experience in experiences:
                loader = statistics_loader(experience, batch_size=size, num_workers=workers)
                for batch in watched(loader, "class statistics", self.progress):
                    _, y = predict(strategy, batch)
                    statistics.update(self._taken(), y)
        self._take_over(statistics, strategy.model)

    def _take_over(self, statistics: ClassStatistics, model: nn.Module) -> None:
        self.statistics = statistics
        self._one_model.learned(model)

    def before_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch the classifier's input while evaluating."""
        if self.statistics is not None:
            self._one_model.require(type(self).__name__, strategy.model)
            around_next_forward(strategy, self._watching(strategy.model))

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put the statistics' logits in the place of the linear head's, before any metric."""
        if self.statistics is not None:
            strategy.mb_output = self.statistics.logits(self._taken())

    def _new_statistics(self, model: nn.Module) -> ClassStatistics:
        layer = self._layer(model)
        return ClassStatistics(layer.out_features, layer.in_features, self.rule)

    def _layer(self, model: nn.Module) -> nn.Linear:
        """The linear layer of the classifier: the trainable one, else the only one."""
        layer = find_classifier(model, self.classifier, may_be_frozen=True)
        if layer is None:
            raise ValueError(
                f"{type(model).__name__} has no classifier to take features from: name the path of "
                "its linear layer by classifier="
            )
        return layer

    @contextmanager
    def _watching(self, model: nn.Module) -> Iterator[None]:
        """Inside this block, and only there, what the classifier receives is noted."""
        self._features = None
        hook = self._layer(model).register_forward_pre_hook(self._see)
        try:
            yield
        finally:
            hook.remove()

    def _see(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0].detach()

    def _taken(self) -> Tensor:
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("the forward pass never called the classifier: no features to use")
        return features.reshape(-1, features.shape[-1])
