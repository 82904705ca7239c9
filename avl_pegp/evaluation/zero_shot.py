"""Zero-shot numbers of a CLIP: accuracy among any classes, retrieval, foils, and their history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from avl_pegp.backbones.clip import distinct_texts, listed_texts
from avl_pegp.evaluation.features import shown
from avl_pegp.plugins.tasks import OneModel
from avl_pegp.projection.running import inference_state

if TYPE_CHECKING:
    from avl_pegp.backbones.clip import CLIPClassifier


def encoded_images(
    model: CLIPClassifier, dataset: Dataset[Any], batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Image features of a data set, and its targets.

    The model is in eval mode meanwhile; every module's mode is back as it was afterwards.

    Args:
        model: encodes them, on its device.
        dataset: of ``(image, target, ...)``, at least one; targets are class or caption numbers.
        batch_size: images in a forward pass; features do not depend on it, but for rounding.

    Returns:
        ``(n, D)`` of unit length and ``(n,)``, on the model's device.
    """
    batches = shown(model, dataset, batch_size, model.encode_image, "evaluate on")
    features, targets = map(torch.cat, zip(*batches, strict=True))
    return features, targets.to(features.device)


def encoded_texts(model: CLIPClassifier, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Features of texts as they are, ``(T, D)`` of unit length; modes as in ``encoded_images``.

    Raises:
        ValueError: no list of texts, none, an empty one, or one that is too long.
    """
    listed = listed_texts("texts", texts)
    parts = [listed[i : i + batch_size] for i in range(0, len(listed), batch_size)]
    with inference_state(model):
        return torch.cat([model.encode_text(part) for part in parts])


def encoded_classes(
    model: CLIPClassifier, class_names: Sequence[str], batch_size: int = 256
) -> Tensor:
    """Features of the prompts of any classes, ``(C, D)`` of unit length, as for classes to come.

    Names that are among the model's own classes have the prompts, and learned contexts, of those. The
    model's modes are afterwards what they were.

    Raises:
        ValueError: names that ``model.set_classes`` refuses.
    """
    tokens = model.class_tokens(class_names)
    with inference_state(model):
        return torch.cat([model.encode_tokens(part) for part in tokens.split(batch_size)])


def zero_shot_accuracy(
    model: CLIPClassifier, dataset: Dataset[Any], class_names: Sequence[str], batch_size: int = 256
) -> float:
    """Share of images whose own class has the nearest prompt, among these classes.

    The classes need not be the model's: those it was never trained on, or of another data set. Prompts
    are of the model's template, or of its learned context.

    Args:
        model: answers; modes, data set and batch size as in ``encoded_images``.
        class_names: those that compete; a target is an index among them.

    Raises:
        ValueError: an empty data set, a target that no name stands for, or names that
            ``model.set_classes`` refuses.

    Example:
        >>> from avl_pegp import create_clip
        >>> from torch.utils.data import TensorDataset
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a"])
        >>> dataset = TensorDataset(torch.zeros(3, 3, 32, 32), torch.tensor([1, 1, 1]))
        >>> zero_shot_accuracy(model, dataset, ["capital b", "digit two"]) in (0.0, 1.0)
        True
    """
    texts = encoded_classes(model, class_names, batch_size)
    images, targets = encoded_images(model, dataset, batch_size)
    if targets.min() < 0 or targets.max() >= len(class_names):
        raise ValueError(
            f"targets go from {targets.min()} to {targets.max()}: must be indices of the "
            f"{len(class_names)} class_names, from 0"
        )
    return float(((images @ texts.T).argmax(dim=1) == targets).double().mean())


class Recall(NamedTuple):
    """Retrieval recall@1 in both directions, each a share (0..1)."""

    image_to_text: float
    text_to_image: float


def recall_at_1(image_features: Tensor, text_features: Tensor, image_captions: Tensor) -> Recall:
    """How often the nearest caption of an image is its own, and the nearest image of a caption.

    Nearness is the cosine. Images with the same caption are all right answers to it. A caption that no
    image has competes for images, but is not asked for itself. A tie with a wrong answer is wrong.

    Args:
        image_features: ``(n, D)``.
        text_features: ``(C, D)``, one row a distinct caption.
        image_captions: ``(n,)`` whole numbers, the row of each image's caption.

    Raises:
        ValueError: shapes that do not fit, nothing to compare, caption numbers out of range, or NaN.

    Example:
        >>> images, texts = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.eye(2)
        >>> recall_at_1(images, texts, torch.tensor([0, 1]))
        Recall(image_to_text=0.5, text_to_image=1.0)
    """
    images, texts, captions = image_features, text_features, image_captions
    _require_finite(image_features=images, text_features=texts)
    shapes = [tuple(t.shape) for t in (images, texts, captions)]
    fits = images.ndim == texts.ndim == 2 and images.shape[1] == texts.shape[1]
    if not fits or captions.shape != images.shape[:1] or not images.numel() or not texts.numel():
        raise ValueError(
            f"image_features, text_features and image_captions have shapes {shapes}: must be (n, D), "
            "(C, D) and (n,) with n and C at least 1"
        )
    if captions.is_floating_point() or captions.min() < 0 or captions.max() >= len(texts):
        raise ValueError(
            f"image_captions: must be whole numbers from 0 to {len(texts) - 1}, the rows of "
            f"text_features; they are {captions.dtype} from {captions.min()} to {captions.max()}"
        )
    scores = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    rows = torch.arange(len(texts), device=captions.device)
    right = (captions[:, None] == rows).to(scores.device)
    to_text, to_image = _first_is_right(scores, right), _first_is_right(scores.T, right.T)
    return Recall(float(to_text.mean()), float(to_image[right.any(dim=0)].mean()))


def hallucination_rate(scores_true: Tensor, scores_foils: Tensor) -> float:
    """Share of image-foil pairs in which the foil scores at least as high as the true caption.

    A foil is a caption that names an attribute or object which is not there. Pairs are counted one by
    one, so that 0.5 is chance whatever the number of foils; a tie counts against the model.

    Args:
        scores_true: ``(n,)``, the score of each image with its own caption.
        scores_foils: ``(n, K)``, its scores with K foils.

    Raises:
        ValueError: shapes that do not fit, nothing to compare, or NaN or infinite scores.

    Example:
        >>> hallucination_rate(torch.tensor([0.5, 0.5]), torch.tensor([[0.1, 0.5], [0.2, 0.3]]))
        0.25
    """
    _require_finite(scores_true=scores_true, scores_foils=scores_foils)
    fits = scores_true.ndim == 1 and scores_foils.ndim == 2
    if not fits or len(scores_true) != len(scores_foils) or not scores_foils.numel():
        raise ValueError(
            f"scores_true has shape {tuple(scores_true.shape)} and scores_foils "
            f"{tuple(scores_foils.shape)}: must be (n,) and (n, K) with n and K at least 1"
        )
    return float((scores_foils >= scores_true[:, None]).double().mean())


def _first_is_right(scores: Tensor, right: Tensor) -> Tensor:
    """For each row whether its best right score is above all wrong ones, as 0 or 1."""
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1)
    wrong = scores.masked_fill(right, -torch.inf).amax(dim=1)
    return (best > wrong).double()


def _require_finite(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values: look for a diverged weight")


def matching(
    model: CLIPClassifier,
    dataset: Dataset[Any],
    captions: Sequence[str],
    foils: Tensor,
    batch_size: int = 256,
) -> dict[str, float]:
    """Retrieval recall@1 both ways, and the hallucination rate, on one set of images.

    Args:
        model: encodes images and captions; modes, data set and batch size as in ``encoded_images``.
        captions: distinct; all of them compete in retrieval, and targets are indices among them.
        foils: ``(n, K)``, for each image the numbers of K other captions than its own, which name
            something that is not there; in the order of the data set.

    Returns:
        ``image_to_text``, ``text_to_image`` (see ``recall_at_1``) and ``hallucination`` (see
        ``hallucination_rate``), each a share.

    Raises:
        ValueError: no list of captions, a repeated or an empty one, shapes that do not fit, caption
            numbers out of range, or a foil that is the image's own caption.

    """
    captions = distinct_texts("captions", captions)
    images, own = encoded_images(model, dataset, batch_size)
    texts = encoded_texts(model, captions, batch_size)
    recall = recall_at_1(images, texts, own)
    foils = foils.to(own.device)
    fits = foils.ndim == 2 and len(foils) == len(own) and foils.numel() and foils.dtype == own.dtype
    if not fits or foils.min() < 0 or foils.max() >= len(texts) or (foils == own[:, None]).any():
        raise ValueError(
            f"foils {tuple(foils.shape)} of {foils.dtype}: must have a row for each of the {len(own)} "
            f"images, of caption numbers from 0 to {len(texts) - 1} as {own.dtype}, none of them its own"
        )
    scores = images @ texts.T
    true, false = scores.gather(1, own[:, None])[:, 0], scores.gather(1, foils)
    return {**recall._asdict(), "hallucination": hallucination_rate(true, false)}


class ZeroShotRetention(PluginMetric[dict[str, list[float]]]):
    """Numbers of the model before training, and after each experience, for the loggers.

    Give it to an ``EvaluationPlugin``. It measures when training begins for the first time and when
    an experience is over, after plugins have done their last; in an online stream each piece is an
    experience. Loggers get ``ZeroShot/NAME``.

    Args:
        measures: what to compute of the model; each gives shares by name, such as ``matching`` on
            images that are never trained. No two give the same name.

    Attributes:
        history: by name, the first number before training, then one for each experience.
        seconds: how long measuring has taken, all in all; training is not over before it.

    Raises:
        ValueError: when measuring, a name that two measures give; at the start of training, another
            model object than the one that the history is of.

    Example:
        >>> retention = ZeroShotRetention([lambda model: {"parameters": len([*model.parameters()])}])
        >>> retention.history  # EvaluationPlugin(retention, loggers=[...])
        {}
    """

    def __init__(self, measures: Sequence[Callable[[Any], Mapping[str, float]]]) -> None:
        super().__init__()
        self.measures = tuple(measures)
        self.history: dict[str, list[float]] = {}
        self.seconds = 0.0
        self._one_model = OneModel()

    def result(self) -> dict[str, list[float]]:
        """``history``."""
        return self.history

    def reset(self) -> None:
        """Nothing: the history is of the whole stream."""

    def before_training(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Measure once, before anything is trained."""
        self._one_model.require(str(self), strategy.model)
        return [] if self.history else self._measure(strategy)

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Measure after an experience."""
        return self._measure(strategy)

    def _measure(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        started, now = time.perf_counter(), dict[str, float]()
        for measure in self.measures:
            numbers = measure(strategy.model)
            twice = sorted(numbers.keys() & now.keys())
            if twice:
                raise ValueError(f"measures gives {twice} twice: let each number have its own name")
            now.update(numbers)
        for name, number in now.items():
            self.history.setdefault(name, []).append(number)
        self.seconds += time.perf_counter() - started
        self._one_model.learned(strategy.model)
        at = strategy.clock.train_iterations
        return [MetricValue(self, f"ZeroShot/{name}", number, at) for name, number in now.items()]

    def __str__(self) -> str:
        return "ZeroShotRetention"
