"""What a CLIP can do without having been trained for it: transfer, retrieval, foils, retention."""

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

from avl_pegp.backbones.clip import distinct_texts
from avl_pegp.evaluation.features import encoded_images, encoded_texts
from avl_pegp.evaluation.metrics import AccuracyMatrix
from avl_pegp.plugins.tasks import OneModel

if TYPE_CHECKING:
    from avl_pegp.backbones.clip import CLIPClassifier


class TransferAvgLast(NamedTuple):
    """The three numbers of a stream of several data sets, each a share (0..1)."""

    transfer: float
    average: float
    last: float


class Recall(NamedTuple):
    """Retrieval recall@1 in both directions, each a share (0..1)."""

    image_to_text: float
    text_to_image: float


def transfer_avg_last(matrix: AccuracyMatrix) -> TransferAvgLast:
    """Transfer, Avg and Last of a stream of T data sets.

    Transfer = mean over j > 0 of mean over i < j of R[i, j]: accuracy on data sets not trained yet.
    Avg = mean of all R[i, j]. Last = mean over j of R[T−1, j].

    Reference: Zheng et al., Preventing zero-shot transfer degradation in continual learning of
    vision-language models (2023), arXiv 2303.06628, section 4.

    Args:
        matrix: ``(T, T)``, complete: R[i, j] is the accuracy on data set j after training i. Above the
            diagonal it is zero-shot.

    Raises:
        ValueError: fewer than two data sets, or the matrix is not square or has missing entries.

    Example:
        >>> transfer_avg_last([[0.9, 0.4], [0.7, 0.8]])
        TransferAvgLast(transfer=0.4, average=0.7, last=0.75)
    """
    size = len(matrix)
    if size < 2:
        raise ValueError(f"matrix has {size} rows: Transfer is defined from two data sets on")
    for i, row in enumerate(matrix):
        missing = [j for j, value in enumerate(row) if value is None]
        if missing or len(row) != size:
            raise ValueError(
                f"matrix row {i} has {len(row)} of {size} entries and lacks {missing or 'none'}: "
                "evaluate on every data set after each, also on those yet to come"
            )
    r = torch.tensor(matrix, dtype=torch.float64)
    ahead = [r[:j, j].mean() for j in range(1, size)]
    return TransferAvgLast(float(torch.stack(ahead).mean()), float(r.mean()), float(r[-1].mean()))


def recall_at_1(image_features: Tensor, text_features: Tensor, image_captions: Tensor) -> Recall:
    """How often the nearest caption of an image is its own, and the nearest image of a caption.

    Nearness is the cosine. Images with the same caption are all right answers to it. A caption that no
    image has competes for images, but is not asked for itself. A tie with a wrong answer is wrong.

    Args:
        image_features: ``(n, D)``.
        text_features: ``(C, D)``, one row a distinct caption.
        image_captions: ``(n,)`` whole numbers, the row of each image's caption.

    Raises:
        ValueError: shapes that do not fit, nothing to compare, caption numbers out of range, or NaN or
            infinite features.

    Example:
        >>> images, texts = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.eye(2)
        >>> recall_at_1(images, texts, torch.tensor([0, 1]))
        Recall(image_to_text=0.5, text_to_image=1.0)
    """
    _require_retrieval(image_features, text_features, image_captions)
    scores = F.normalize(image_features, dim=1) @ F.normalize(text_features, dim=1).T
    captions = torch.arange(len(text_features), device=image_captions.device)
    right = (image_captions[:, None] == captions).to(scores.device)
    asked = right.any(dim=0)
    return Recall(
        float(_first_is_right(scores, right).mean()),
        float(_first_is_right(scores.T, right.T)[asked].mean()),
    )


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
    rival = scores.masked_fill(right, -torch.inf).amax(dim=1)
    return (best > rival).double()


def _require_retrieval(images: Tensor, texts: Tensor, captions: Tensor) -> None:
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
        model: encodes images and captions; its modes are afterwards what they were.
        dataset: of ``(image, caption number, ...)``.
        captions: distinct; all of them compete in retrieval.
        foils: ``(n, K)``, for each image the numbers of K other captions than its own, which name
            something that is not there; in the order of the data set.
        batch_size: images, or captions, in a forward pass.

    Returns:
        ``image_to_text``, ``text_to_image`` (see ``recall_at_1``) and ``hallucination`` (see
        ``hallucination_rate``), each a share.

    Raises:
        ValueError: no list of captions, a repeated or an empty one, shapes that do not fit, caption
            numbers out of range, or a foil that is the image's own caption.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import create_clip
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a"])
        >>> dataset = TensorDataset(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
        >>> captions = ["a red capital a", "a blue capital a"]
        >>> matching(model, dataset, captions, torch.tensor([[1], [0]]))["hallucination"]
        0.5
    """
    captions = distinct_texts("captions", captions)
    images, own = encoded_images(model, dataset, batch_size)
    texts = encoded_texts(model, captions, batch_size)
    recall = recall_at_1(images, texts, own)
    _require_foils(foils.to(own.device), own, len(texts))
    scores = images @ texts.T
    false = scores.gather(1, foils.to(scores.device))
    true = scores.gather(1, own[:, None])[:, 0]
    return {**recall._asdict(), "hallucination": hallucination_rate(true, false)}


def _require_foils(foils: Tensor, own: Tensor, count: int) -> None:
    fits = foils.ndim == 2 and len(foils) == len(own) and foils.numel() and foils.dtype == own.dtype
    if not fits or foils.min() < 0 or foils.max() >= count or (foils == own[:, None]).any():
        raise ValueError(
            f"foils {tuple(foils.shape)} of {foils.dtype}: must have a row for each of the {len(own)} "
            f"images, of caption numbers from 0 to {count - 1} as {own.dtype}, none of them its own"
        )


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
