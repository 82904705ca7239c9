"""Features of whole data sets by a CLIP, batch by batch, and its zero-shot accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avl_pegp.backbones.clip import listed_texts
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
        dataset: of ``(image, target, ...)``; targets are class or caption numbers.
        batch_size: images in a forward pass; features do not depend on it, but for rounding.

    Returns:
        ``(n, D)`` of unit length and ``(n,)``, on the model's device.

    Raises:
        ValueError: the data set is empty.
    """
    device = next(model.parameters()).device
    collate = getattr(dataset, "collate_fn", None)
    features, targets = [], []
    with inference_state(model):
        for images, labels, *_ in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
            features.append(model.encode_image(images.to(device)))
            targets.append(labels.to(device))
    if not features:
        raise ValueError("the data set has no samples: give at least one to evaluate on")
    return torch.cat(features), torch.cat(targets)


def encoded_texts(model: CLIPClassifier, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Features of texts as they are, ``(T, D)`` of unit length; modes as in ``encoded_images``.

    Raises:
        ValueError: no list of texts, none, an empty one, or one that is too long.
    """
    listed = listed_texts("texts", texts)
    with inference_state(model):
        return torch.cat([model.encode_text(part) for part in _parts(listed, batch_size)])


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
    model: CLIPClassifier,
    dataset: Dataset[Any],
    class_names: Sequence[str],
    batch_size: int = 256,
) -> float:
    """Share of images whose own class has the nearest prompt, among these classes.

    The classes need not be the model's: those it was never trained on, or of another data set. Prompts
    are of the model's template, or of its learned context.

    Args:
        model: answers; its modes are afterwards what they were.
        dataset: of ``(image, target, ...)``, images as the model takes them.
        class_names: those that compete; a target is an index among them.
        batch_size: images, or prompts, in a forward pass. Answers do not depend on it.

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


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
