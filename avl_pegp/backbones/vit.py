"""One function for the vision transformers of timm, the tiny one of this package, and yours."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

# Imported, they register what they build, as timm_vit does.
from avl_pegp.backbones import photo_vit, tiny_vit  # noqa: F401
from avl_pegp.backbones.registry import VITS, Pretrained
from avl_pegp.backbones.state_dicts import check_fit
from avl_pegp.backbones.timm_vit import ViT
from avl_pegp.backbones.weights import HEAD, LocalWeights, read_local_weights


def create_vit(
    name: str,
    num_classes: int,
    pretrained: Pretrained = False,
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
        name: ``"tiny_vit_32.latin"`` for letters or ``"tiny_vit_32.photos"`` for photographs (3x32x32
            images, weights inside this package); or the name of a vision transformer of timm (its
            classes VisionTransformer, Eva, which DINOv3 is too, Beit and VisionTransformerRelPos),
            best with its tag, as ``"vit_base_patch16_224.augreg_in21k"``; or one that you have given
            to ``register_vit``.
        num_classes: outputs of the head, at least 1.
        pretrained: ``False`` for random weights; ``True`` for those that the name stands for, timm's
            being downloaded once; or a file with weights of this architecture: ``.safetensors``,
            ``.pth``, ``.pt`` or ``.bin`` with timm's names, or Google's ``.npz``.
        options: passed on, to ``timm.create_model`` or whatever else builds the model.

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
    build: Callable[..., ViT] = VITS.builder(name)
    if isinstance(pretrained, bool):
        return build(name, num_classes, pretrained, **options)
    weights = read_local_weights(Path(pretrained))  # first: nothing is built for a bad file
    model = build(name, num_classes, False, **options)
    load_body(model, weights)
    return model


def load_body(model: nn.Module, weights: LocalWeights) -> None:
    """Load everything but the head, and note the source in ``model.weights_source``.

    Position embeddings of another image size are resampled as timm does; nothing else may differ.

    Args:
        model: one with random weights, of ``create_vit``; it keeps its own head.
        weights: what ``read_local_weights`` gave.

    Raises:
        WeightsError: the weights are of another architecture; the model is then unchanged.

    Example:
        >>> from avl_pegp.backbones.weights import read_local_weights
        >>> from avl_pegp.backbones.tiny_vit import WEIGHTS_FILE, create_tiny_vit
        >>> model = create_tiny_vit(num_classes=2)
        >>> load_body(model, read_local_weights(WEIGHTS_FILE))
        >>> model.weights_source.file
        'tiny_vit_32_latin.safetensors'
    """
    own = model.state_dict()
    random: Any = model.weights_source
    body = dict(weights.body)
    if _can_be_resampled(body.get("pos_embed"), model):
        transformer: Any = model
        body |= checkpoint_filter_fn({"pos_embed": body["pos_embed"]}, transformer)
    check_fit(
        f"{weights.path} does not fit {random.tag}",
        body,
        {k: v for k, v in own.items() if not HEAD.match(k)},
        "with timm's names for its tensors",
    )
    model.load_state_dict({k: v for k, v in own.items() if HEAD.match(k)} | body)
    model.weights_source = replace(
        random, file=weights.path.name, sha256=weights.sha256, dropped=weights.head
    )


def _can_be_resampled(found: Tensor | None, model: Any) -> bool:
    """Whether these are embeddings of a square grid, of this width, of another size."""
    own = getattr(model, "pos_embed", None)  # models of relative positions have none
    if found is None or own is None or found.ndim != 3 or found.shape == own.shape:
        return False
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        return False  # one number that stands for many, of which there is no end
    apart = getattr(model, "no_embed_class", False)  # Beit always embeds its class token
    tokens = found.shape[1] - (0 if apart else model.num_prefix_tokens)
    square = tokens > 0 and isqrt(tokens) ** 2 == tokens
    return square and (len(found), found.shape[2]) == (len(own), own.shape[2])
