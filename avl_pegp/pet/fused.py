"""``nn.MultiheadAttention`` in the form of timm's ``Attention``: what open_clip's blocks need."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def split_heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``(B, H, N, d_h)`` of tokens ``(B, N, C)``, before any norm."""
    B, N, _ = x.shape
    qkv = attention.qkv(x).reshape(B, N, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    return q, k, v


def attend(attention: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention's output for each query, heads side by side again: ``(B, N, C)``."""
    dropout = attention.attn_drop.p if attention.training else 0.0
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, scale=attention.scale
    )
    return y.transpose(1, 2).flatten(2)


class FusedAttention(nn.Module):
    """Self-attention with timm's parts, over the very tensors of an ``nn.MultiheadAttention``.

    ``(B, N, C)`` → ``(B, N, C)``. ``qkv`` and ``proj`` are linear layers whose parameters are those of
    the module that it stands for.
    """

    def __init__(self, base: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.scale = base.num_heads, base.head_dim**-0.5
        self.qkv = _linear(base.in_proj_weight, base.in_proj_bias)
        self.q_norm, self.k_norm, self.norm = nn.Identity(), nn.Identity(), nn.Identity()
        self.attn_drop = nn.Dropout(base.dropout)
        self.proj = _linear(cast(nn.Parameter, base.out_proj.weight), base.out_proj.bias)
        self.proj_drop = nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        q, k, v = split_heads(self, x)
        y: Tensor = self.proj(attend(self, q, k, v, attn_mask))
        return y


class AsMultihead(nn.Module):
    """What open_clip's block calls: ``nn.MultiheadAttention``'s signature before ``fused``."""

    def __init__(self, base: nn.MultiheadAttention) -> None:
        super().__init__()
        self.fused: nn.Module = FusedAttention(base)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        if key is not query or value is not query:
            raise ValueError("PETs need self-attention, but keys and values come from elsewhere")
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = ~attn_mask  # there true is hidden, in timm's attention true is seen
        if attn_mask is not None and attn_mask.dim() == 3:  # (B H, N, N)
            attn_mask = attn_mask.unflatten(0, (len(query), -1))
        return self.fused(query, attn_mask=attn_mask), None


def is_plain_multihead(attention: object) -> TypeGuard[nn.MultiheadAttention]:
    """Whether ``FusedAttention`` computes what the module does."""
    return (
        type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def _linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    """A linear layer over these very parameters."""
    with torch.device("meta"):  # nothing is drawn
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer
