"""One function for the vision transformers of timm and the tiny one of this package."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from avl_pegp.backbones.loading import load_body
from avl_pegp.backbones.local_weights import read_local_weights
from avl_pegp.backbones.timm_vit import ViT, create_timm_vit
from avl_pegp.backbones.tiny_vit import TINY_VIT, create_tiny_vit

__all__ = ["create_vit"]


def create_vit(
    name: str,
    num_classes: int,
    pretrained: bool | str | os.PathLike[str] = False,
    **options: Any,
) -> ViT:
    """Build a vision transformer with a new classification head.

    The head is always new, also where the weights come with one of as many classes.
    ``model.weights_source`` says which weights the model has (a ``WeightsSource``).

    Published results on ViT-B/16 rest on different weights: L2P, DualPrompt, LAE and PGP loaded
    Google's ``imagenet21k/ViT-B_16.npz`` (``vit_base_patch16_224.orig_in21k``), InfLoRA and VPT-NSP²
    ``vit_base_patch16_224.augreg_in21k``. Without a tag timm takes its own default, today
    ``augreg2_in21k_ft_in1k``, which has seen ImageNet's labels.

    Args:
        name: ``"tiny_vit_32.latin"`` (3x32x32 images, weights inside this package) or the name of a
            vision transformer of timm (its classes VisionTransformer, Eva, which DINOv3 is too, Beit
            and VisionTransformerRelPos), best with its tag, as ``"vit_base_patch16_224.augreg_in21k"``.
        num_classes: outputs of the head, at least 1.
        pretrained: ``False`` for random weights; ``True`` for those that the name stands for, timm's
            being downloaded once; or a file with weights of this architecture: ``.safetensors``,
            ``.pth``, ``.pt`` or ``.bin`` with timm's names, or Google's ``.npz``.
        options: passed on, to ``timm.create_model`` or ``create_tiny_vit``.

    Returns:
        The model in training mode with all its parameters trainable.

    Raises:
        ValueError: the name, ``num_classes`` or an option is not a possible one; the name meant
            other weights in older versions of timm; or it stands for no weights.
        TypeError: timm knows the name, but the model is of another class, or of a form that ``attach``
            does not take; or ``pretrained`` is neither a bool nor a path.
        WeightsError: the file can't be read or does not fit, the download failed, or the weights in
            the package are damaged.

    Example:
        >>> import torch
        >>> model = create_vit("tiny_vit_32.latin", num_classes=70, pretrained=True)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 70])
        >>> model.weights_source.file
        'tiny_vit_32_latin.safetensors'
    """
    if num_classes < 1:
        raise ValueError(
            f"num_classes={num_classes} must be at least 1; give the head its classes."
        )
    if not isinstance(pretrained, bool | str | os.PathLike):
        raise TypeError(f"pretrained={pretrained!r}: must be True, False or the path of a file")
    build: Callable[..., ViT]
    build = create_tiny_vit if name == TINY_VIT else partial(create_timm_vit, name)
    if isinstance(pretrained, bool):
        return build(num_classes, pretrained, **options)
    weights = read_local_weights(Path(pretrained))  # first: nothing is built for a bad file
    model = build(num_classes, False, **options)
    load_body(model, weights)
    return model
