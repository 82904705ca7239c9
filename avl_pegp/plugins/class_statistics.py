"""A class-statistics classifier in Avalanche: learned after each experience, used in evaluation."""

from __future__ import annotations

import copy
from typing import Any

from avalanche.models.utils import avalanche_forward
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from tqdm.auto import tqdm

from avl_pegp.backbones.heads import ClassStatistics, Rule
from avl_pegp.plugins.experience import statistics_loader
from avl_pegp.projection.classifier import find_classifier
from avl_pegp.projection.observing import inference_state


class ClassStatisticsPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Evaluate by class means (``ncm``) or means and shared covariance (``lda``).

    After an experience, what the classifier receives is averaged for each class over the training
    data, in eval mode under the evaluation transform. From then on evaluation's logits are those of
    ``ClassStatistics``; training is left as it is. The classes are rows of the model's classifier.

    Args:
        rule: ``"lda"`` or ``"ncm"``.
        classifier: path of the linear classifier, ``None`` for the model's ``get_classifier()``.
        progress: show a bar while statistics are gathered.

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
        self._hook: RemovableHandle | None = None

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Refuse a model without a linear classifier before any time is spent."""
        self._layer(strategy.model)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Store the statistics of this experience's classes."""
        loader = statistics_loader(
            strategy.experience,
            batch_size=strategy.eval_mb_size,
            num_workers=kwargs.get("num_workers", 0),
        )
        layer = self._layer(strategy.model)
        statistics = copy.deepcopy(self.statistics)
        if statistics is None:
            statistics = ClassStatistics(layer.out_features, layer.in_features, self.rule)
        bar = tqdm(loader, desc="class statistics", leave=False, disable=not self.progress)
        hook = layer.register_forward_pre_hook(self._see)
        try:
            with inference_state(strategy.model):
                for batch in bar:
                    x, y, *rest = (element.to(strategy.device) for element in batch)
                    avalanche_forward(strategy.model, x, rest[-1] if rest else None)
                    statistics.update(self._taken(), y)
        finally:
            hook.remove()
        self.statistics = statistics

    def before_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch the classifier's input while evaluating."""
        self.after_eval(strategy)
        if self.statistics is not None:
            self._hook = self._layer(strategy.model).register_forward_pre_hook(self._see)

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put the statistics' logits in the place of the linear head's, before any metric."""
        if self.statistics is not None:
            strategy.mb_output = self.statistics.logits(self._taken())

    def after_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Stop watching."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _layer(self, model: nn.Module) -> nn.Linear:
        """The linear layer of the classifier: the trainable one, else the only one."""
        layer = find_classifier(model, self.classifier, may_be_frozen=True)
        if layer is None:
            raise ValueError(
                f"{type(model).__name__} has no classifier to take features from: name the path of "
                "its linear layer by classifier="
            )
        return layer

    def _see(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0].detach()

    def _taken(self) -> Tensor:
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("the forward pass never called the classifier: no features to use")
        return features.reshape(-1, features.shape[-1])
