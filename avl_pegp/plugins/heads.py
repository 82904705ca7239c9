"""The classifier of a strategy's model: as the model says, or as one sample shows."""

from __future__ import annotations

from avalanche.training.templates import SupervisedTemplate
from torch import nn

from avl_pegp.plugins.experience import predict, statistics_loader
from avl_pegp.projection.classifier_search import LogitsWatch, path_shown
from avl_pegp.projection.heads import Classifier, Heads, find_heads
from avl_pegp.projection.running import inference_state


def heads_of(
    strategy: SupervisedTemplate, classifier: Classifier, may_be_frozen: bool = False
) -> Heads:
    """The linear layers of the classifier by path; see ``avl_pegp.projection.heads``.

    Where the model does not say what its classifier is, it is shown the first sample of the strategy's
    experience: the layer whose output is the logits is the one.

    Args:
        strategy: with a model, and an experience.
        classifier: a path, ``None`` to have it found, ``False`` where there is none.
        may_be_frozen: take frozen layers where none is trainable.

    Raises:
        ValueError: it can't be found; or a path fits nothing.
    """
    heads = find_heads(strategy.model, classifier, may_be_frozen)
    if heads is None:
        path = _seen(strategy)
        trained = path_shown(strategy.model, path)  # or refused
        heads = find_heads(strategy.model, path if may_be_frozen else trained, may_be_frozen) or {}
    return heads


def _seen(strategy: SupervisedTemplate) -> str | None:
    """The path of the layer whose output is the logits, as one sample shows it."""
    model: nn.Module = strategy.model
    paths: list[str | None] = []
    watch = LogitsWatch(model, paths.append)
    try:
        with inference_state(model):
            predict(strategy, next(iter(statistics_loader(strategy.experience, batch_size=1))))
    finally:
        watch.end()
    return next(iter(paths), None)
