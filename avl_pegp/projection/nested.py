"""Tensors in what models take and give: alone, in lists, mappings or fields, as an object's logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors, in order; of an object with ``logits``, as some models give it, those.

    Of any other object, those that are its attributes.

    Example:
        >>> import torch
        >>> [t.item() for t in tensors_in({"a": torch.tensor(1), "b": [torch.tensor(2.0), None]})]
        [1, 2.0]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in([getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, SimpleNamespace):
        yield from tensors_in(vars(value))
    elif hasattr(value, "logits"):
        yield from tensors_in(value.logits)
    elif hasattr(value, "__dict__") and not isinstance(value, type | nn.Module):
        yield from (part for part in vars(value).values() if isinstance(part, Tensor))


def floats_in(value: Any) -> list[Tensor]:
    """The floating-point tensors among them.

    Example:
        >>> import torch
        >>> len(floats_in([torch.tensor(1), torch.tensor(2.0)]))
        1
    """
    return [tensor for tensor in tensors_in(value) if tensor.is_floating_point()]


def first_sample(batch: Any) -> Any:
    """A batch of its first sample alone: of each tensor in it a copy of the first entry.

    Example:
        >>> import torch
        >>> x, y = first_sample((torch.zeros(4, 3), torch.zeros(4)))
        >>> x.shape, y.shape
        (torch.Size([1, 3]), torch.Size([1]))
    """
    if isinstance(batch, Tensor):
        return batch[:1].clone() if batch.dim() else batch.clone()
    if isinstance(batch, Mapping):
        return {name: first_sample(value) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [first_sample(value) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def samples_in(batch: Any) -> int:
    """How many samples a batch has, by the first tensor in it; one where that can't be told.

    Example:
        >>> import torch
        >>> samples_in((torch.zeros(4, 3), torch.zeros(4)))
        4
    """
    return next((len(tensor) for tensor in tensors_in(batch) if tensor.dim()), 1)
