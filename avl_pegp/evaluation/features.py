"""What a model makes of whole data sets, batch by batch: features, attention, zero-shot answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avl_pegp.backbones.clip import listed_texts
from avl_pegp.pet.prefix import PrefixTokens
from avl_pegp.pet.prompt import PromptRows
from avl_pegp.pet.trainable import classifier_of
from avl_pegp.projection.running import inference_state

if TYPE_CHECKING:
    from avl_pegp.backbones.clip import CLIPClassifier


_CALLED_WITH_MASS = {PrefixTokens: "values", PromptRows: "mass"}


def classifier_features(
    model: nn.Module, dataset: Dataset[Any], batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """What the classifier receives for each image of a data set, and the targets.

    The model is in eval mode meanwhile; every module's mode is back as it was afterwards, and no hook
    is left behind.

    Args:
        model: with a ``get_classifier()``; it answers on its own device.
        dataset: of ``(image, target, ...)``.
        batch_size: images in a forward pass; features do not depend on it, but for rounding.

    Returns:
        ``(n, D)`` and ``(n,)``, on the CPU.

    Raises:
        ValueError: the data set is empty.
        RuntimeError: the forward pass never calls the classifier.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import create_vit
        >>> model = create_vit("tiny_vit_32.latin", num_classes=2, pretrained=True)
        >>> dataset = TensorDataset(torch.zeros(3, 3, 32, 32), torch.tensor([0, 1, 1]))
        >>> classifier_features(model, dataset)[0].shape
        torch.Size([3, 128])
    """
    features: list[Tensor] = []

    def see(_: nn.Module, inputs: tuple[Tensor]) -> None:
        features.append(inputs[0].detach().cpu())

    with ExitStack() as hooks:
        hooks.callback(classifier_of(model).register_forward_pre_hook(see).remove)
        targets = torch.cat([targets for _, targets in _shown(model, dataset, batch_size)])
    if not features:
        raise RuntimeError("the forward pass never called the classifier: no features to use")
    return torch.cat(features), targets


def token_mass(model: nn.Module, dataset: Dataset[Any], batch_size: int = 256) -> dict[str, Tensor]:
    """How much attention the tokens of each prefix or deep prompt receive, on average.

    Modes and hooks as in ``classifier_features``.

    Returns:
        For each block's tokens ``(H, L)``: for each head and learned token the share (0..1) of a
        query's attention, averaged over queries and images. What is left to 1 lies on the image.

    Raises:
        ValueError: the data set is empty, or the model has no such tokens.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import Prefix, attach, create_vit
        >>> model = create_vit("tiny_vit_32.latin", num_classes=2, pretrained=True)
        >>> handle = attach(model, Prefix(length=5, blocks=[1]))
        >>> dataset = TensorDataset(torch.zeros(3, 3, 32, 32), torch.tensor([0, 1, 1]))
        >>> {name: tuple(mass.shape) for name, mass in token_mass(model, dataset).items()}
        {'blocks.1.attn.tokens.prefix': (4, 5)}
    """
    observed = {
        name: getattr(module, _CALLED_WITH_MASS[type(module)])
        for name, module in model.named_modules()
        if type(module) in _CALLED_WITH_MASS
    }
    if not observed:
        raise ValueError(
            f"{type(model).__name__} has no prefix and no deep prompt: attach(model, Prefix(10)) or "
            "Prompt(10), other PETs have no tokens to attend to"
        )
    sums: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in observed.items():

            def see(_: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                mass = inputs[0].detach().double().mean(2).sum(0).cpu()  # (B, H, N, L) -> (H, L)
                sums[name] = sums[name] + mass if name in sums else mass

            hooks.callback(module.register_forward_pre_hook(see).remove)
        images = sum(len(targets) for _, targets in _shown(model, dataset, batch_size))
    return {name: total / images for name, total in sums.items()}


def _shown(
    model: nn.Module,
    dataset: Dataset[Any],
    batch_size: int,
    show: Callable[[Tensor], Tensor] | None = None,
    purpose: str = "look at",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Show a model, or what ``show`` calls of it, a data set: each batch's output and its targets."""
    device = next(model.parameters()).device
    collate = getattr(dataset, "collate_fn", None)
    is_empty = True
    with inference_state(model):
        for images, targets, *_ in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
            is_empty = False
            yield (show or model)(images.to(device)), targets
    if is_empty:
        raise ValueError(f"the data set has no samples: give at least one to {purpose}")


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
    shown = _shown(model, dataset, batch_size, model.encode_image, "evaluate on")
    features, targets = map(torch.cat, zip(*shown, strict=True))
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
