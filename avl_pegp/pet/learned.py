"""Learned rows that join the tokens of a layer, as modules that can be observed.

A learned tensor is read by the layer itself. It is *called*, as the weight of a small module, only
while someone observes that module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def drawn(like: Tensor, *shape: int) -> Tensor:
    """Small random numbers, of the device and dtype of another tensor."""
    return nn.init.trunc_normal_(like.new_empty(shape), std=0.02)


def is_observed(module: nn.Module) -> bool:
    """Whether a forward hook waits on the module or on a part of it."""
    return any(m._forward_pre_hooks or m._forward_hooks for m in module.modules())


class LearnedRows(nn.Module):
    """L rows (L, C), contracted over C with the tokens among which they stand.

    Example:
        >>> LearnedRows(torch.zeros(2, 4))(torch.ones(1, 3, 4)).shape
        torch.Size([1, 3, 2])
    """

    contracted_dim = -1

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C)`` → ``(..., L)``."""
        return x @ self.weight.mT

    def show(self, x: Tensor) -> None:
        """Be called with these tokens, where someone observes it, without a trace for autograd."""
        if is_observed(self):
            with torch.no_grad():
                self(x)

    def extra_repr(self) -> str:
        return f"length={self.weight.shape[0]}, width={self.weight.shape[1]}"


class HeadLinear(LearnedRows):
    """A bias-free linear map for each head: ``(B, H, N, in)`` → ``(B, H, N, out)``.

    The weight is ``(H, out, in)``; input and weight are contracted over their last axes.
    """

    def extra_repr(self) -> str:
        heads, out_features, in_features = self.weight.shape
        return f"heads={heads}, in_features={in_features}, out_features={out_features}"
