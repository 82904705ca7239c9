"""A class-statistics classifier in Avalanche: learned after each experience, used in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.heads import ClassStatistics, create_head
from avl_pegp.plugins.classifier_input import ClassifierInput
from avl_pegp.plugins.drift_correction import DriftCorrection
from avl_pegp.plugins.experience import (
    around_next_forward,
    is_online,
    own_samples,
    predict,
    require_samples,
    statistics_loader,
)
from avl_pegp.plugins.progress import watched
from avl_pegp.plugins.tasks import OneModel
from avl_pegp.projection.heads import Classifier
from avl_pegp.projection.running import inference_state
from avl_pegp.wrappers import named_root


class ClassStatisticsPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Evaluate by a head on class statistics, such as ``lda`` or ``ranpac``; docs/heads.md has them all.

    After an experience, what the classifier receives is taken into the statistics of each class over
    the training data, in eval mode under the evaluation transform. From then on evaluation's logits
    are those of the head; training is left as it is. The classes are rows of the model's classifier.
    Where it has one for each task, each has statistics of its own, and a batch must be of one task;
    where several answer together, their logits are averaged.

    In an online stream the training minibatches themselves feed the statistics (replayed samples
    excluded), with the features that they had then: each sample is seen once.

    Args:
        head: a key of ``HEADS``.
        classifier: path of the linear classifier; ``None`` has it found, as ``PEGP`` does.
        correction: moves stored statistics by the drift of features in an experience, as it is
            estimated without old samples; ``None`` leaves them as they were stored.
        progress: show a bar while statistics are gathered.
        options: of the head, such as ``shrinkage``.

    Attributes:
        of_heads: the statistics by the path of the classifier.

    Raises:
        ValueError: an unknown head, or an option out of range; in training and evaluation, another
            model object than the one that statistics are about (``recompute`` takes any); at the start
            of training, a model without a linear classifier.

    Example:
        >>> ClassStatisticsPlugin("ncm").head  # Naive(..., plugins=[PEGPPlugin(), this])
        'ncm'
    """

    def __init__(
        self,
        head: str = "lda",
        classifier: Classifier = None,
        *,
        correction: DriftCorrection | None = None,
        progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        create_head(head, classes=1, width=1, **options)  # refuses wrong ones at once
        self.head, self.options = head, options
        self._input = ClassifierInput(classifier)
        self.correction = correction
        self.progress = progress
        self.of_heads: dict[str, ClassStatistics] = {}
        self._one_model = OneModel()

    @property
    def statistics(self) -> ClassStatistics | None:
        """Those of the only head; ``None`` before any were stored.

        Raises:
            ValueError: there are several heads: see ``of_heads``.
        """
        if len(self.of_heads) > 1:
            raise ValueError(
                f"statistics: there are several, of {', '.join(self.of_heads)}; take one of of_heads"
            )
        return next(iter(self.of_heads.values()), None)

    def before_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse another model, and an empty experience before Avalanche trips over it."""
        self._one_model.require(type(self).__name__, strategy.model)
        require_samples(strategy.experience)

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Find the classifier, or refuse the model; note features, where drift is to be corrected."""
        self._input.find(strategy)
        if self.correction is None:
            return
        self.correction.require_fit(strategy, self)
        if self.of_heads:
            if len({*self.of_heads, *self._input.paths}) > 1:
                raise ValueError(
                    f"correction with the heads {', '.join(self._input.paths)}: a drift is known of "
                    "the one that answers, and of no other; leave correction out, or name one classifier"
                )
            self.correction.begin(strategy, self._input.encoder(strategy), **kwargs)

    def before_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: watch the classifier's input while training."""
        if is_online(strategy.experience):
            around_next_forward(strategy, self._input.watching(strategy.model))

    def after_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: add this minibatch to the statistics."""
        if is_online(strategy.experience):
            own = own_samples(strategy)
            taken = {path: x[:own] for path, x in self._input.taken(len(strategy.mb_y)).items()}
            added = self._updated(strategy.model, self.of_heads, taken, strategy.mb_y[:own])
            self._take_over(added, strategy.model)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Move what is stored by the drift, and store the statistics of this experience's classes."""
        if not is_online(strategy.experience):
            moved = self._moved(strategy, **kwargs)
            self._add(strategy, [strategy.experience], moved, **kwargs)

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
        self._add(strategy, experiences, {}, **kwargs)

    def _moved(self, strategy: SupervisedTemplate, **kwargs: Any) -> dict[str, ClassStatistics]:
        """The statistics so far, carried to where the experience has moved features."""
        if self.correction is None or not self.of_heads:
            return self.of_heads
        drift = self.correction.end(strategy, self._input.encoder(strategy), **kwargs)
        moved = copy.deepcopy(self.of_heads)
        for statistics in moved.values():
            if drift is not None:
                statistics.move(drift)
        return moved

    def _add(
        self,
        strategy: SupervisedTemplate,
        experiences: Iterable[DatasetExperience[Any]],
        of_heads: Mapping[str, ClassStatistics],
        **kwargs: Any,
    ) -> None:
        """Take over statistics with the experiences added to them, once all went well."""
        added = copy.deepcopy(dict(of_heads))
        size, workers = strategy.eval_mb_size, kwargs.get("num_workers", 0)
        self._input.find(strategy)
        with inference_state(strategy.model), self._input.watching(strategy.model):
            for experience in experiences:
                loader = statistics_loader(experience, batch_size=size, num_workers=workers)
                for batch in watched(loader, "class statistics", self.progress):
                    _, y = predict(strategy, batch)
                    added = self._updated(strategy.model, added, self._input.taken(len(y)), y)
        self._take_over(added, strategy.model)

    def _take_over(self, of_heads: dict[str, ClassStatistics], model: nn.Module) -> None:
        self.of_heads = of_heads
        self._one_model.learned(model)

    def before_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch what the classifier receives while evaluating."""
        if self.of_heads:
            self._one_model.require(type(self).__name__, strategy.model)
            around_next_forward(strategy, self._input.watching(strategy.model))

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put the statistics' logits in the place of the linear head's, before any metric.

        A head that has not learned anything yet answers itself.
        """
        if not self.of_heads:
            return
        taken = self._input.taken(len(strategy.mb_y))
        known = [
            self.of_heads[path].logits(x) for path, x in taken.items() if path in self.of_heads
        ]
        if known:
            strategy.mb_output = torch.stack(known).mean(0)

    def _updated(
        self,
        model: nn.Module,
        of_heads: Mapping[str, ClassStatistics],
        features: Mapping[str, Tensor],
        labels: Tensor,
    ) -> dict[str, ClassStatistics]:
        """The statistics with a batch added to those of the heads that saw it."""
        of_heads = dict(of_heads)
        for path, x in features.items():
            layer = named_root(model).get_submodule(path)
            classes, width = cast(int, layer.out_features), cast(int, layer.in_features)
            statistics = of_heads.get(path) or create_head(
                self.head, classes, width, **self.options
            )
            statistics.make_room(classes)
            statistics.update(x, labels)
            of_heads[path] = statistics
        return of_heads
