"""Noticing that tensors have changed, at little cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["TensorMark", "mark_of"]


@dataclass(frozen=True, eq=False)
class TensorMark:
    """One tensor as it was at a moment.

    Of a frozen tensor these are the object, its memory, and how often torch has counted a write to
    it: what is written through ``tensor.data`` goes unnoticed. Of a trained one it is the content
    too, as fused optimizers write without being counted.

    Attributes:
        tensor: the object.
        memory: another view of what it held, so that no other tensor can come to lie there.
        version: torch's count of writes.
        content: what a trained tensor held, else ``None``.

    Example:
        >>> import torch
        >>> tensor = torch.zeros(2)
        >>> mark = mark_of(tensor)
        >>> fits = mark.fits(tensor)
        >>> _ = tensor.add_(1)
        >>> fits, mark.fits(tensor)
        (True, False)
    """

    tensor: Tensor
    memory: Tensor
    version: int
    content: Tensor | None

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor is this one, trained or frozen as it was, and holds what it held."""
        return (
            tensor is self.tensor
            and tensor._version == self.version
            and tensor.data_ptr() == self.memory.data_ptr()
            and tensor.requires_grad == (self.content is not None)  # torch's kernels differ by that
            and (self.content is None or torch.equal(tensor, self.content))
        )


def mark_of(tensor: Tensor) -> TensorMark:
    """The mark of a tensor as it is now."""
    memory = tensor.detach()
    content = memory.clone() if tensor.requires_grad else None
    return TensorMark(tensor, memory, tensor._version, content)
