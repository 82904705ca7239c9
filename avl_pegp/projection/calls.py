"""What a model is called with: shapes, dtypes and ranges, from which another such call can be made.

No sample is kept: of a tensor's values only the smallest and the largest are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.projection.nested import tensors_in
from avl_pegp.wrappers import named_root


class FirstCall:
    """Notes the first call of a model.

    Attributes:
        description: what it was called with, as plain dicts, lists and numbers; ``None`` before, and
            where it can't be described.
    """

    def __init__(self) -> None:
        self.description: dict[str, Any] | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside this block, and only there, a call is noted; none where one already was."""
        if self.description is not None:
            yield
            return
        hook = named_root(model).register_forward_pre_hook(self._see, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.description is None:
            self.description = described_call(args, kwargs)


def described_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """One sample of a call, described; ``None`` where something in it is no tensor or plain value.

    Tensors as long as the first one are batches, of which one sample is described.

    Example:
        >>> described_call((torch.zeros(8, 3),), {})["args"]["items"]
        [{'shape': [1, 3], 'dtype': 'float32', 'low': 0.0, 'high': 0.0}]
    """
    batch = next((len(t) for t in tensors_in([args, dict(kwargs)]) if t.dim()), 0)
    try:
        return {"args": _described(args, batch), "kwargs": _described(dict(kwargs), batch)}
    except TypeError:
        return None


def made_call(
    description: Mapping[str, Any], device: torch.device
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call of that description, drawn from a generator of its own, always the same one."""
    generator = torch.Generator().manual_seed(0)
    args = _made(description["args"], generator, device)
    return tuple(args), _made(description["kwargs"], generator, device)


def _described(value: Any, batch: int) -> dict[str, Any]:
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"entries": {key: _described(entry, batch) for key, entry in value.items()}}
    if type(value) in (list, tuple):
        kind = type(value).__name__
        return {"items": [_described(item, batch) for item in value], "kind": kind}
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
        raise TypeError(f"{type(value).__name__} can't be described")
    shape = list(value.shape)
    if shape and shape[0] == batch:
        shape[0] = 1
    kind = str(value.dtype).removeprefix("torch.")
    wide = value.detach().double().nan_to_num()
    low, high = (float(wide.min()), float(wide.max())) if wide.numel() else (0.0, 0.0)
    return {"shape": shape, "dtype": kind, "low": low, "high": high}


def _made(description: Mapping[str, Any], generator: torch.Generator, device: torch.device) -> Any:
    if "value" in description:
        return description["value"]
    if "entries" in description:
        entries = description["entries"].items()
        return {key: _made(entry, generator, device) for key, entry in entries}
    if "items" in description:
        items = [_made(item, generator, device) for item in description["items"]]
        return tuple(items) if description["kind"] == "tuple" else items
    low, high = description["low"], description["high"]
    dtype = getattr(torch, description["dtype"])
    drawn = torch.rand(description["shape"], generator=generator, dtype=torch.float64)
    values = low + (high - low) * drawn
    return (values if dtype.is_floating_point else values.round()).to(device, dtype)
