"""The running mean of weights along training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightMean:
    """The mean of a set of tensors at several times, without keeping those.

    Args:
        start: tensors by name, the first entry. They are copied.

    Attributes:
        tensors: the mean so far, by name.
        count: how many entries it has.

    Example:
        >>> mean = WeightMean({"w": torch.tensor([0.0, 3.0])})
        >>> mean.add({"w": torch.tensor([1.0, 3.0])})
        >>> mean.tensors["w"]
        tensor([0.5000, 3.0000])
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self.tensors = {name: tensor.detach().clone() for name, tensor in start.items()}
        self.count = 1

    @torch.no_grad()
    def add(self, now: Mapping[str, Tensor]) -> None:
        """Another entry, of the same names and shapes."""
        self.count += 1
        for name, mean in self.tensors.items():
            mean.lerp_(now[name], 1 / self.count)
