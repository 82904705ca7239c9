"""Forms of self-attention that PETs can read: from tokens to queries, keys, values and a bias.

::

    x (B, N, C) ── projection ── q, k, v ── norms of q and k ── rotation ──┐
                                                                           softmax(q kᵀ / √d_h + bias) v
    positions ──────────────────────────────────────────────── bias ───────┘

Every form is some of this. What computes something else, such as differential or talking heads, is
none of them: forms are told by the function that computes them, so that a subclass with a forward of
its own is not taken for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SPLIT = {"q_proj", "k_proj", "v_proj"}
_COMMON = {"qkv", "attn_drop", "proj", "proj_drop"}
_NORMS = {"q_norm", "k_norm", "norm", "gate"}
_FORMS = {  # where a forward is defined: the parts and tensors that it may use
    "avl_pegp.pet.fused.FusedAttention": _COMMON | _NORMS,
    "timm.layers.attention.Attention": _COMMON | _NORMS,
    "timm.layers.attention.AttentionRope": _COMMON | _NORMS | _SPLIT,
    "timm.models.eva.EvaAttention": _COMMON | _NORMS | _SPLIT | {"q_bias", "v_bias"},
    "timm.models.beit.Attention": _COMMON | {"q_bias", "v_bias", "relative_position_bias_table"},
    "timm.models.vision_transformer_relpos.RelPosAttention": _COMMON
    | {"q_norm", "k_norm", "rel_pos"},
}
READABLE = (
    "attention of timm's vision transformers (fused qkv), of Eva and DINOv3 (rotary), of BEiT and with "
    "relative positions, or open_clip's nn.MultiheadAttention"
)


def is_readable(attention: nn.Module) -> bool:
    """Whether ``read`` computes what the module does: a known forward, and no parts besides."""
    forward = type(attention).forward
    name = f"{forward.__module__}.{forward.__qualname__.removesuffix('.forward')}"
    parts = {name for name, _ in attention.named_children()}
    tensors = {name for name, _ in attention.named_parameters(recurse=False)}
    return name in _FORMS and parts | tensors <= _FORMS[name] and "forward" not in vars(attention)


@dataclass(frozen=True)
class Scores:
    """What attention is made of: ``q``, ``k``, ``v`` ``(B, H, N, d_h)``, and what is added.

    Attributes:
        bias: to the scores of own keys, ``(…, N, N)``, −∞ where a key is hidden; ``None`` for zero.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None


def read(
    attention: Any,
    x: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    rope: Tensor | None = None,
    shared: Tensor | None = None,
) -> Scores:
    """Queries and keys as they enter the dot product, after norms and rotation.

    Args:
        attention: one that ``is_readable``.
        x: tokens ``(B, N, C)``.
        attn_mask: boolean (true is seen) or additive.
        is_causal: hide later tokens.
        rope: sines and cosines of positions, for all but the first tokens.
        shared: a bias that blocks share.
    """
    q, k, v = _projected(attention, x)
    q = _part(attention, "q_norm", q)
    k = _part(attention, "k_norm", k)
    if rope is not None:
        from timm.layers.pos_embed_sincos import apply_rot_embed_cat

        first, half = attention.num_prefix_tokens, getattr(attention, "rotate_half", False)
        q, k = (
            torch.cat([t[:, :, :first], apply_rot_embed_cat(t[:, :, first:], rope, half=half)], 2)
            for t in (q, k)
        )
        q, k = q.type_as(v), k.type_as(v)
    groups = getattr(attention, "num_kv_groups", 1)
    if groups > 1:  # several heads of queries share one of keys and values
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    bias = _positions(attention, shared)
    if is_causal or attn_mask is not None:
        from timm.layers.attention import resolve_self_attn_mask

        mask = resolve_self_attn_mask(x.shape[1], q, attn_mask, is_causal)
        bias = mask if bias is None else mask + bias
    return Scores(q, k, v, bias)


def attend(attention: Any, scores: Scores) -> Tensor:
    """Attention's output for each query, heads side by side again: ``(B, N, C)``."""
    dropout = attention.attn_drop.p if attention.training else 0.0
    y = F.scaled_dot_product_attention(
        scores.q, scores.k, scores.v, scores.bias, dropout, scale=attention.scale
    )
    return y.transpose(1, 2).flatten(2)


def finished(attention: Any, x: Tensor, y: Tensor) -> Tensor:
    """The output ``(B, N, C)`` of what heads gave side by side."""
    y = _part(attention, "norm", y)
    gate = getattr(attention, "gate", None)
    if gate is not None:
        y = y * gate(x).sigmoid()
    out: Tensor = attention.proj_drop(attention.proj(y))
    return out


def frozen_maps(attention: Any) -> list[tuple[Tensor, Tensor | None]]:
    """``W_k, b_k`` and ``W_v, b_v`` by head, ``(H, d_h, C)`` and ``(H, d_h)``, without any LoRA."""
    maps: list[tuple[Tensor, Tensor | None]]
    if attention.qkv is None:
        layers = [frozen_linear(attention.k_proj), frozen_linear(attention.v_proj)]
        maps = [(layer.weight, layer.bias) for layer in layers]
    else:
        qkv = frozen_linear(attention.qkv)
        bias = _bias_apart(attention) if qkv.bias is None else qkv.bias
        biases: Sequence[Tensor | None] = (None,) * 3 if bias is None else bias.chunk(3)
        maps = list(zip(qkv.weight.chunk(3), biases, strict=True))[1:]
    return [(_heads(attention, w), None if b is None else _heads(attention, b)) for w, b in maps]


def frozen_linear(layer: nn.Module) -> nn.Linear:
    """The frozen layer itself, past a LoRA where there is one; its weight is W0 alone.

    What is trainable must not be multiplied by a LoRA: its rows would become features that change.
    Nor by the increment that restarts leave, which grows: with W0 alone a restart changes no key and
    no value of a prompt.
    """
    base = getattr(layer, "base", layer)
    if not isinstance(base, nn.Linear):
        raise TypeError(f"{type(layer).__name__} in the place of a linear layer: must be nn.Linear")
    return base


def _heads(attention: Any, rows: Tensor) -> Tensor:
    """Rows of keys or values by head, those that heads share repeated."""
    groups = getattr(attention, "num_kv_groups", 1)
    rows = rows.unflatten(0, (attention.num_heads // groups, -1))
    return rows if groups == 1 else rows.repeat_interleave(groups, dim=0)


def _bias_apart(attention: Any) -> Tensor | None:
    """The bias of ``qkv`` where the attention, and not the layer, has it."""
    if getattr(attention, "q_bias", None) is None:
        return None
    return torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])


def _projected(attention: Any, x: Tensor) -> list[Tensor]:
    """Queries, keys and values ``(B, H, N, d_h)``; of keys and values there may be fewer heads."""
    if attention.qkv is None:
        parts = [attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)]
    else:
        qkv, bias = attention.qkv(x), _bias_apart(attention)
        parts = (qkv if bias is None else qkv + bias).chunk(3, dim=-1)
    width = parts[0].shape[-1] // attention.num_heads
    return [part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts]


def _part(attention: nn.Module, name: str, x: Tensor) -> Tensor:
    """A part that not every form has."""
    part = getattr(attention, name, None)
    y: Tensor = x if part is None else part(x)
    return y


def _positions(attention: Any, shared: Tensor | None) -> Tensor | None:
    """The bias of relative positions, ``(1, H, N, N)``."""
    if getattr(attention, "rel_pos", None) is not None:
        own: Tensor = attention.rel_pos.get_bias()
        return own
    if getattr(attention, "relative_position_bias_table", None) is not None:
        own = attention._get_rel_pos_bias()
        return own if shared is None else own + shared
    return shared
