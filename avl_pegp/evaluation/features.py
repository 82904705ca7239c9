"""What a model makes of a data set: features before the classifier, attention on learned tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avl_pegp.pet.prefix import PrefixTokens
from avl_pegp.pet.prompt import PromptRows
from avl_pegp.pet.trainable import classifier_of
from avl_pegp.projection.running import inference_state

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
        targets = torch.cat([*_shown(model, dataset, batch_size)])
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
    images = 0
    with ExitStack() as hooks:
        for name, module in observed.items():

            def see(_: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                mass = inputs[0].detach().double().mean(2).sum(0).cpu()  # (B, H, N, L) -> (H, L)
                sums[name] = sums[name] + mass if name in sums else mass

            hooks.callback(module.register_forward_pre_hook(see).remove)
        images = sum(len(targets) for targets in _shown(model, dataset, batch_size))
    return {name: total / images for name, total in sums.items()}


def _shown(model: nn.Module, dataset: Dataset[Any], batch_size: int) -> Iterator[Tensor]:
    """Put a data set through a model batch by batch, and give each batch's targets."""
    device = next(model.parameters()).device
    collate = getattr(dataset, "collate_fn", None)
    is_empty = True
    with inference_state(model):
        for images, targets, *_ in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
            model(images.to(device))
            is_empty = False
            yield targets
    if is_empty:
        raise ValueError("the data set has no samples: give at least one to look at")
