"""Loading weights into a model: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any

from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.local_weights import HEAD, NAMED, LocalWeights

__all__ = ["check_fit", "load_body"]


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


def check_fit(
    complaint: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: str
) -> None:
    """Refuse tensors that are not, by name and shape, those that a model wants.

    Args:
        complaint: how the message begins: what does not fit what.
        found: of a file.
        wanted: of the model.
        names: how the message ends: whose names the tensors must have.

    Raises:
        WeightsError: something is missing, unexpected or of another shape.

    Example:
        >>> import torch
        >>> try:
        ...     check_fit("a.pth does not fit b", {"w": torch.zeros(2)}, {}, "with b's names")
        ... except WeightsError as error:
        ...     print(str(error)[:50])
        a.pth does not fit b: 1 unexpected (w (2,)). Give
    """
    differences = _differences(found, wanted)
    if differences:
        raise WeightsError(
            f"{complaint}: {'; '.join(differences)}. Give the name and the options of the "
            f"architecture that it was saved from, {names}"
        )


def _can_be_resampled(found: Tensor | None, model: Any) -> bool:
    """Whether these are embeddings of a square grid, of this width, of another size."""
    own = getattr(model, "pos_embed", None)  # models of relative positions have none
    if found is None or own is None or found.ndim != 3 or found.shape == own.shape:
        return False
    tokens = found.shape[1] - _embedded_before(model)
    square = tokens > 0 and isqrt(tokens) ** 2 == tokens
    return square and (len(found), found.shape[2]) == (len(own), own.shape[2])


def _embedded_before(model: Any) -> int:
    """How many tokens before the grid have position embeddings too."""
    apart = getattr(model, "no_embed_class", False)  # Beit always embeds its class token
    return 0 if apart else int(model.num_prefix_tokens)


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unexpected or of another shape: a phrase for each kind."""
    missing = [f"{k} {tuple(v.shape)}" for k, v in wanted.items() if k not in found]
    unexpected = [f"{k} {tuple(v.shape)}" for k, v in found.items() if k not in wanted]
    misshaped = [
        f"{k} {tuple(found[k].shape)} for {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    return [
        f"{len(keys)} {kind} ({', '.join(keys[:NAMED])}{', …' if len(keys) > NAMED else ''})"
        for kind, keys in kinds.items()
        if keys
    ]
