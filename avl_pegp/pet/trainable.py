"""The one place that says what is trained: PET tensors, and the classifier beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from avl_pegp.protocols import HasClassifier, task_heads
from avl_pegp.wrappers import unwrapped

ATTACHMENT = "pet_attachment"  # the name of the handle in its model


def classifier_of(model: Any) -> nn.Module:
    """The model's own classifier: its heads for tasks, or else ``model.get_classifier()``.

    Raises:
        TypeError: it is not one module, as with the two heads of a distilled DeiT.
    """
    heads = task_heads(model)
    if heads is not None:
        return heads
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Module):
        found = f"a {type(classifier).__name__}"
        if isinstance(classifier, tuple | list):
            found = f"{len(classifier)} modules, as of a distilled model"
        raise TypeError(
            f"{type(model).__name__}.get_classifier() gives {found}: the rules for rows of classes are "
            "for one classifier; take the architecture without distillation (deit_tiny_patch16_224 "
            "for deit_tiny_distilled_patch16_224)"
        )
    return classifier


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Train these tensors no more.

    Their gradients go too: an optimizer steps what has one, also where nothing is asked for, and
    weight decay and momentum would go on moving what is frozen.
    """
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None


def trainable_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The tensors that training changes, by name: those of the PETs and of the classifier."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def pet_parameters(model: nn.Module, head_lr: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: PET and classifier.

    Args:
        model: a model with PETs attached, or one of peft's; also inside wrappers.
        head_lr: the classifier's own learning rate; ``None`` puts all into one group at the
            optimizer's rate.

    Returns:
        One group ``{"params": ...}``; with ``head_lr`` three: PETs, classifier, and the frozen tensors.
        The last is never stepped, as frozen tensors have no gradient, but Avalanche refuses tensors
        that it finds in no group as soon as there are several.

    Raises:
        ValueError: the model has no PETs, nothing to train, or ``head_lr`` is not above 0, or given
            where the classifier is frozen.
        TypeError: ``head_lr`` for a model that does not tell its classifier.

    Example:
        >>> import timm, torch
        >>> from avl_pegp import LoRA, attach, pet_parameters
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> handle = attach(model, LoRA(rank=2))
        >>> optimizer = torch.optim.AdamW(pet_parameters(model, head_lr=1e-2), lr=1e-3)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.001, 0.01, 0.001]
    """
    if head_lr is not None and not head_lr > 0:
        raise ValueError(f"head_lr={head_lr!r}: must be above 0, or None for the optimizer's rate")
    inner, trainable = unwrapped(model), trainable_tensors(model).values()
    head: set[nn.Parameter] = set()
    if isinstance(inner, HasClassifier):
        head = set(classifier_of(inner).parameters())
    elif head_lr is not None:
        raise TypeError(
            f"head_lr={head_lr!r}, but {type(inner).__name__} has no get_classifier(): name its "
            "classifier by such a method, or make the parameter groups yourself"
        )
    pets = [p for p in trainable if p not in head]
    # attach and peft both leave their configuration.
    built = any(ATTACHMENT in m._modules or "peft_config" in vars(m) for m in model.modules())
    if not pets or not built:
        raise ValueError(
            f"{type(inner).__name__} has no trainable PET: call attach(model, LoRA(...)) first, or give "
            "the optimizer what it shall train"
        )
    heads = [p for p in trainable if p in head]
    if head_lr is None:
        return [{"params": pets + heads}]
    if head and not heads:
        raise ValueError(
            f"head_lr={head_lr!r}, but the classifier is frozen: train it (with peft: "
            "modules_to_save=[its name]), or leave head_lr out"
        )
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return [{"params": pets}, {"params": heads, "lr": head_lr}, {"params": frozen}]


def summary(model: nn.Module, pets: Sequence[object], parts: Iterable[object]) -> str:
    """What ``print(handle)`` says.

    Args:
        model: with its PETs.
        pets: their configurations.
        parts: what was put into it.

    Example:
        >>> import timm
        >>> from avl_pegp import LoRA, attach
        >>> attach(timm.create_model("test_vit", num_classes=10), LoRA(rank=2))
        Attachment(
          LoRA(rank=2, alpha=None, targets=('qkv',), blocks=None, tower='image')
          at blocks.*.attn.qkv (6)
          trained: 3,722 of 309,962 values (1.2 %), 650 of them in the classifier
        )
    """
    wanted = {id(part) for part in parts}
    paths = [path for path, module in model.named_modules() if id(module) in wanted]
    places = Counter(re.sub(r"\b\d+\b", "*", path) for path in paths)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    head = sum(p.numel() for p in classifier_of(model).parameters() if p.requires_grad)
    lines = [
        *map(repr, pets),
        f"at {', '.join(f'{place} ({count})' for place, count in places.items())}",
        f"trained: {trained:,} of {total:,} values ({100 * trained / total:.1f} %), "
        f"{head:,} of them in the classifier",
    ]
    return "\n  ".join(["Attachment(", *lines]) + "\n)"
