"""What plugins ask of a strategy and its experience: task, classes, data at test time, heads, logits.

In an online stream every few samples are an experience of their own, cut from an original one: the
*task*. A learner may know it only where the stream gives ``access_task_boundaries``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from avalanche.benchmarks import DatasetExperience, OnlineCLExperience
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.models.utils import avalanche_forward
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import DataLoader

from avl_pegp.projection.classifier_search import LogitsWatch, path_shown
from avl_pegp.projection.heads import Classifier, Heads, find_heads, logits_of
from avl_pegp.projection.running import inference_state


def is_online(experience: DatasetExperience[Any]) -> bool:
    """Whether it is a small piece of an online stream, of which each sample is seen once."""
    return isinstance(experience, OnlineCLExperience)


def task_of(experience: DatasetExperience[Any]) -> DatasetExperience[Any] | None:
    """The experience that is a whole task: itself, or what it was cut from.

    ``None`` where the learner must not know it: in an online stream without boundaries.
    """
    if not is_online(experience):
        return experience
    return origin_of(experience) if experience.access_task_boundaries else None


def origin_of(experience: DatasetExperience[Any]) -> DatasetExperience[Any]:
    """As ``task_of``, whether or not the learner may know: for metrics alone."""
    origin: DatasetExperience[Any] = getattr(experience, "origin_experience", None) or experience
    return origin


def require_samples(experience: DatasetExperience[Any]) -> None:
    """Raise ValueError for an experience without a sample, where Avalanche would divide by zero."""
    if not len(experience.dataset):
        raise ValueError(
            f"experience {experience.current_experience} has no samples: leave it out of the stream"
        )


def predict(strategy: SupervisedTemplate, batch: Any) -> tuple[Tensor, Tensor]:
    """Logits and targets of a batch ``(x, y)``, or ``(x, y, ..., task label)``."""
    x, y, *rest = (element.to(strategy.device) for element in batch)
    return require_logits(avalanche_forward(strategy.model, x, rest[-1] if rest else None)), y


def require_logits(output: Any) -> Tensor:
    """The logits in what a model gave: a tensor, or what has ``logits``, as Hugging Face's outputs.

    Raises:
        TypeError: there are none.
    """
    logits = logits_of(output)
    if logits is None:
        raise TypeError(
            f"the model gave a {type(output).__name__}: must be a tensor of logits, or have them by the "
            "name of logits; wrap the model so that it does"
        )
    return logits


def own_samples(strategy: SupervisedTemplate) -> int:
    """How many samples of the training minibatch are the experience's own: they stand first.

    What follows them is replayed (Avalanche's ``ReplayPlugin`` and others with its data loader).
    """
    loader = strategy.dataloader
    if not isinstance(loader, ReplayDataLoader):
        return len(strategy.mb_x)
    size = loader.batch_sizes[0]
    left = len(loader.datasets[0]) - size * strategy.clock.train_epoch_iterations
    return int(min(size, left))


def classes_of(experience: DatasetExperience[Any]) -> set[int]:
    """The classes of an experience, or of the task that it was cut from, where that may be known.

    Avalanche's benchmarks carry a list, a set, or nothing at all; then the targets are read.

    Raises:
        ValueError: neither classes nor targets are there, or one is no whole number from 0 up. (To a
            tensor of logits, −1 would be the last class.)
    """
    experience = task_of(experience) or experience
    classes = getattr(experience, "classes_in_this_experience", None)
    if classes is None:
        classes = getattr(experience.dataset, "targets", None)
    if classes is None:
        raise ValueError(
            "the experience has no `classes_in_this_experience` and its dataset no `targets`: build "
            "the benchmark with one of them, as with avalanche's as_classification_dataset"
        )
    labels = {float(c) for c in classes}
    wrong = sorted(c for c in labels if c < 0 or c != int(c))
    if wrong:
        raise ValueError(
            f"the experience has the label {wrong[0]:g}: labels must be whole numbers from 0 up; leave "
            "such samples out, or give them a class"
        )
    return {int(c) for c in labels}


def statistics_loader(
    experience: DatasetExperience[Any],
    *,
    samples: int | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
) -> DataLoader[Any]:
    """The experience's own data, shuffled, under the evaluation transform.

    Benchmarks sort by class, so that a first part would be one class: samples are drawn instead. The
    generator is the loader's own: global random states are left alone.

    Args:
        experience: replayed samples are not part of its dataset.
        samples: how many to draw, ``None`` for all.
        batch_size: samples in a batch.
        num_workers: as in ``DataLoader``.
        seed: of the draw and the order.
    """
    dataset = experience.dataset.eval()
    generator = torch.Generator().manual_seed(seed)
    if samples is not None and samples < len(dataset):
        drawn = torch.randperm(len(dataset), generator=generator)[:samples]
        dataset = dataset.subset(drawn.tolist())
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        generator=generator,
        num_workers=num_workers,
        collate_fn=getattr(dataset, "collate_fn", None),
    )


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


def around_next_forward(
    strategy: SupervisedTemplate, context: AbstractContextManager[object]
) -> None:
    """Surround the strategy's next forward pass with a context, once.

    For plugins: one that entered a context in ``before_forward`` would never leave it where the
    forward pass fails, for then no event follows.

    Example:
        >>> from contextlib import closing
        >>> from types import SimpleNamespace
        >>> strategy = SimpleNamespace(forward=lambda: "logits")
        >>> around_next_forward(strategy, closing(SimpleNamespace(close=lambda: print("left"))))
        >>> strategy.forward(), strategy.forward()
        left
        ('logits', 'logits')
    """
    forward, own = strategy.forward, vars(strategy).get("forward")

    def surrounded() -> Any:
        del strategy.forward  # else copies and checkpoints would hold this strategy's method
        if own is not None:
            strategy.forward = own
        with context:
            return forward()

    strategy.forward = surrounded
