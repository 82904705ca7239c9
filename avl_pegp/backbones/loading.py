"""Loading weights into a model: whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from avl_pegp.backbones.fitting import check_fit
from avl_pegp.backbones.local_weights import HEAD, LocalWeights

__all__ = ["load_body"]


def load_body(model: nn.Module, weights: LocalWeights) -> None:
    """Load everything but the head, and note the source in ``model.weights_source``.

    Position embeddings of another image size are resampled as timm does; nothing else may differ.

    Args:
        model: one with random weights, of ``create_vit``; it keeps its own head.
        weights: what ``read_local_weights`` gave.

    Raises:
        WeightsError: the weights are of another architecture; the model is then unchanged.

    Example:
        >>> from avl_pegp.backbones.local_weights import read_local_weights
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
    tokens = found.shape[1] - _embedded_before(model)
    square = tokens > 0 and isqrt(tokens) ** 2 == tokens
    return square and (len(found), found.shape[2]) == (len(own), own.shape[2])


def _embedded_before(model: Any) -> int:
    """How many tokens before the grid have position embeddings too."""
    apart = getattr(model, "no_embed_class", False)  # Beit always embeds its class token
    return 0 if apart else int(model.num_prefix_tokens)
