"""A class-statistics classifier in Avalanche: learned after each experience, used in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.heads import ClassStatistics, create_head
from avl_pegp.hooks import watching
from avl_pegp.plugins.experience import (
    around_next_forward,
    heads_of,
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
        progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        create_head(head, classes=1, width=1, **options)  # refuses wrong ones at once
        self.head, self.options = head, options
        self.classifier = classifier
        self.progress = progress
        self.of_heads: dict[str, ClassStatistics] = {}
        self._paths: list[str] = []
        self._features: dict[str, Tensor] = {}
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
        """Find the classifier, or refuse the model, before any time is spent."""
        self._find(strategy)

    def before_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: watch the classifier's input while training."""
        if is_online(strategy.experience):
            around_next_forward(strategy, self._watching(strategy.model))

    def after_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: add this minibatch to the statistics."""
        if is_online(strategy.experience):
            own = own_samples(strategy)
            taken = {path: x[:own] for path, x in self._taken(len(strategy.mb_y)).items()}
            added = self._updated(strategy.model, self.of_heads, taken, strategy.mb_y[:own])
            self._take_over(added, strategy.model)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Store the statistics of this experience's classes."""
        if not is_online(strategy.experience):
            self._add(strategy, [strategy.experience], self.of_heads, **kwargs)

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
        self._find(strategy)
        with inference_state(strategy.model), self._watching(strategy.model):
            for experience in experiences:
                loader = statistics_loader(experience, batch_size=size, num_workers=workers)
                for batch in watched(loader, "class statistics", self.progress):
                    _, y = predict(strategy, batch)
                    added = self._updated(strategy.model, added, self._taken(len(y)), y)
        self._take_over(added, strategy.model)

    def _take_over(self, of_heads: dict[str, ClassStatistics], model: nn.Module) -> None:
        self.of_heads = of_heads
        self._one_model.learned(model)

    def before_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch what the classifier receives while evaluating."""
        if self.of_heads:
            self._one_model.require(type(self).__name__, strategy.model)
            around_next_forward(strategy, self._watching(strategy.model))

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put the statistics' logits in the place of the linear head's, before any metric.

        A head that has not learned anything yet answers itself.
        """
        if not self.of_heads:
            return
        taken = self._taken(len(strategy.mb_y))
        known = [
            self.of_heads[path].logits(x) for path, x in taken.items() if path in self.of_heads
        ]
        if known:
            strategy.mb_output = torch.stack(known).mean(0)

    def _find(self, strategy: SupervisedTemplate) -> None:
        """Note where the heads are: trainable ones, else all."""
        self._paths = list(heads_of(strategy, self.classifier, may_be_frozen=True))
        if not self._paths:
            raise ValueError(
                f"{type(strategy.model).__name__} has no classifier to take features from: leave "
                "this plugin out where classes are names, as in a CLIP, or name the path of its linear "
                "layer by classifier="
            )

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

    @contextmanager
    def _watching(self, model: nn.Module) -> Iterator[None]:
        """Inside this block, and only there, what each head receives is noted."""
        self._features = {}
        root = named_root(model)
        with watching({path: root.get_submodule(path) for path in self._paths}, before=self._see):
            yield

    def _see(
        self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        (x,) = (*args, *kwargs.values())
        self._features[path] = x.detach()

    def _taken(self, samples: int) -> dict[str, Tensor]:
        """What each head that was called received, a row for each sample."""
        features, self._features = self._features, {}
        if not features:
            raise RuntimeError("the forward pass never called the classifier: no features to use")
        rows = {path: x.reshape(-1, x.shape[-1]) for path, x in features.items()}
        wrong = [f"{path} {len(x)}" for path, x in rows.items() if len(x) != samples]
        if wrong:
            raise ValueError(
                f"a batch of {samples} samples, of which the heads saw {', '.join(wrong)}: class "
                "statistics need one task in a batch, and one row a sample"
            )
        return rows
