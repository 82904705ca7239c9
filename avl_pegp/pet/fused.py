"""``nn.MultiheadAttention`` in the form of timm's ``Attention``: what open_clip's blocks need."""

from __future__ import annotations

from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from avl_pegp.pet.attention_forms import attend, finished, read


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
        return finished(self, x, attend(self, read(self, x, attn_mask)))


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
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # nothing is drawn
    layer.weight, layer.bias = weight, cast(nn.Parameter, bias)
    return layer
