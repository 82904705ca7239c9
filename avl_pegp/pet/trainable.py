"""The one place that says what is trained: PET tensors, and the classifier beside them."""

from __future__ import annotations

from typing import Any

from torch import nn


def classifier_of(model: Any) -> nn.Module:
    """The model's own classifier, ``model.get_classifier()``."""
    classifier: nn.Module = model.get_classifier()
    return classifier


def trainable_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The tensors that training changes, by name: those of the PETs and of the classifier."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def pet_parameters(model: nn.Module, head_lr: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: PET and classifier.

    Args:
        model: a model with PETs attached.
        head_lr: the classifier's own learning rate; ``None`` puts all into one group at the
            optimizer's rate.

    Returns:
        One group ``{"params": ...}``; with ``head_lr`` three: PETs, classifier, and the frozen tensors.
        The last is never stepped, as frozen tensors have no gradient, but Avalanche refuses tensors
        that it finds in no group as soon as there are several.

    Raises:
        ValueError: nothing to train, or ``head_lr`` is not above 0.

    Example:
        >>> import timm, torch
        >>> from avl_pegp import LoRA, attach, pet_parameters
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> handle = attach(model, LoRA(rank=2))
        >>> optimizer = torch.optim.AdamW(pet_parameters(model, head_lr=1e-2), lr=1e-3)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.001, 0.01, 0.001]
    """
    trainable = trainable_tensors(model)
    head = {id(p) for p in classifier_of(model).parameters()}
    pets = [p for p in trainable.values() if id(p) not in head]
    if not pets:
        raise ValueError(
            f"{type(model).__name__} has no trainable PET: call attach(model, LoRA(...)) first"
        )
    heads = [p for p in trainable.values() if id(p) in head]
    if head_lr is None:
        return [{"params": pets + heads}]
    if not head_lr > 0:
        raise ValueError(f"head_lr={head_lr!r}: must be above 0, or None for the optimizer's rate")
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return [{"params": pets}, {"params": heads, "lr": head_lr}, {"params": frozen}]
