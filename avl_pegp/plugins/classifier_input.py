"""What the classifier receives: the features that class statistics and distillation are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.hooks import watching
from avl_pegp.plugins.experience import heads_of, predict
from avl_pegp.projection.heads import Classifier
from avl_pegp.projection.running import inference_state, tensors_replaced
from avl_pegp.wrappers import named_root

Encode = Callable[[Any, Mapping[str, Tensor]], Tensor]
"""Features ``(B, d)`` of a batch, under other tensors in the model where some are given."""


class ClassifierInput:
    """Notes what each head of the classifier receives.

    Args:
        classifier: path of the linear classifier; ``None`` has it found, as ``PEGP`` does.

    Attributes:
        paths: of the heads that ``find`` found.

    Example:
        >>> ClassifierInput("fc").paths
        []
    """

    def __init__(self, classifier: Classifier = None) -> None:
        self.classifier = classifier
        self.paths: list[str] = []
        self._seen: dict[str, Tensor] = {}

    def find(self, strategy: SupervisedTemplate) -> None:
        """Note where the heads are: trainable ones, else all.

        Raises:
            ValueError: there is none, or the classifier is not linear.
        """
        self.paths = list(heads_of(strategy, self.classifier, may_be_frozen=True))
        if not self.paths:
            raise ValueError(
                f"{type(strategy.model).__name__} has no classifier to take features from: leave "
                "this plugin out where classes are names, as in a CLIP, or name the path of its linear "
                "layer by classifier="
            )

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside this block, and only there, what each head receives is noted."""
        self._seen = {}
        root = named_root(model)
        with watching({path: root.get_submodule(path) for path in self.paths}, before=self._see):
            yield

    def _see(
        self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        (x,) = (*args, *kwargs.values())
        self._seen[path] = x

    def taken(self, samples: int) -> dict[str, Tensor]:
        """What each head that was called received, a row for each sample, with its graph.

        Raises:
            RuntimeError: no head was called.
            ValueError: another number of rows than of samples.
        """
        seen, self._seen = self._seen, {}
        if not seen:
            raise RuntimeError("the forward pass never called the classifier: no features to use")
        rows = {path: x.reshape(-1, x.shape[-1]) for path, x in seen.items()}
        wrong = [f"{path} {len(x)}" for path, x in rows.items() if len(x) != samples]
        if wrong:
            raise ValueError(
                f"a batch of {samples} samples, of which the heads saw {', '.join(wrong)}: class "
                "statistics need one task in a batch, and one row a sample"
            )
        return rows

    def encoder(self, strategy: SupervisedTemplate) -> Encode:
        """What encodes batches by the strategy's model, as evaluation does, for its one head."""

        def encode(batch: Any, tensors: Mapping[str, Tensor]) -> Tensor:
            model = strategy.model
            with inference_state(model), tensors_replaced(model, tensors), self.watching(model):
                predict(strategy, batch)
            (features,) = self.taken(len(batch[1])).values()
            return features

        return encode
