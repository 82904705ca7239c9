"""One function for the vision transformers of timm and the tiny one of this package."""

from __future__ import annotations

import difflib
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer

from avl_pegp.backbones.tiny_vit import TINY_VIT, create_tiny_vit

__all__ = ["create_vit"]


def create_vit(
    name: str, num_classes: int, pretrained: bool = False, **options: Any
) -> VisionTransformer:
    """Build a vision transformer with a new classification head.

    Args:
        name: ``"tiny_vit_32.latin"`` (3x32x32 images, weights inside this package) or the name of a
            VisionTransformer of timm, best with its tag, as ``"vit_base_patch16_224.augreg_in21k"``.
        num_classes: outputs of the head, at least 1.
        pretrained: load the weights that the name stands for; timm's are downloaded once.
        options: passed on, to ``timm.create_model`` or ``create_tiny_vit``.

    Returns:
        The model in training mode with all its parameters trainable.

    Raises:
        ValueError: the name, ``num_classes`` or an option of the tiny ViT is not a possible one.
        TypeError: timm knows the name, but the model is not a VisionTransformer.
        WeightsError: the weights in the package are damaged.

    Example:
        >>> import torch
        >>> model = create_vit("tiny_vit_32.latin", num_classes=70, pretrained=True)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 70])
    """
    if num_classes < 1:
        raise ValueError(
            f"num_classes={num_classes} must be at least 1; give the head its classes."
        )
    if name == TINY_VIT:
        return create_tiny_vit(num_classes, pretrained, **options)
    _check_known(name)
    model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    if not isinstance(model, VisionTransformer):
        raise TypeError(
            f"name={name!r} builds a {type(model).__name__}, not a VisionTransformer; choose a "
            "model of timm/models/vision_transformer.py, for example vit_base_patch16_224."
        )
    return model


def _check_known(name: str) -> None:
    """Refuse an architecture or tag that timm does not have."""
    if timm.is_model(name):
        try:
            timm.models.get_pretrained_cfg(name)
            return
        except RuntimeError:  # the tag after the dot is not one of this architecture
            pass
    names = [*timm.list_models(pretrained=True), *timm.list_models(), TINY_VIT]
    nearest = difflib.get_close_matches(name, names, n=4, cutoff=0.0)
    raise ValueError(
        f"name={name!r} is not a known model; choose {TINY_VIT} or a name of timm, nearest are "
        f"{', '.join(nearest)}. timm.list_models('vit*', pretrained=True) lists more."
    )
