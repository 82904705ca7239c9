"""A probe: what a model answers on a made input with made weights, to know its function again.

Every trained tensor is replaced by numbers that follow from its name and its indices. What comes out
is then a matter of architecture, configuration and frozen weights alone, whatever training has done;
the leading rows of a classifier that grows stay the same. Nothing of the model is changed.

The input is made from what the first call of the model was like: shapes, dtypes and ranges. No sample
is kept: of a tensor's values only the smallest and the largest are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from avl_pegp.fingerprint import own_name
from avl_pegp.hooks import watching
from avl_pegp.projection.nested import floats_in, tensors_in
from avl_pegp.projection.running import inference_state
from avl_pegp.protocols import EncodesImages
from avl_pegp.wrappers import named_root

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-3}  # of other machines' rounding; else:
_COARSE = 5e-2


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
        with watching({"": named_root(model)}, before=self._see):
            yield

    def _see(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
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


@dataclass(frozen=True)
class Probe:
    """What was asked, and what came out.

    Attributes:
        call: as ``described_call`` gives it.
        rows: how many rows the classifier had, 0 without one.
        outputs: floating-point tensors, on the CPU; with a classifier, what it received comes first.
    """

    call: dict[str, Any]
    rows: int
    outputs: tuple[Tensor, ...]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        call: dict[str, Any] | None,
        trained: Collection[str],
        heads: Collection[nn.Module],
        rows: int,
    ) -> Probe | None:
        """Ask a model; ``None`` where it can't be: its call is unknown, or fails for one sample.

        Args:
            model: may be wrapped.
            call: what it takes.
            trained: names of tensors to replace beside those that are trainable.
            heads: those of the classifier. Of several, each for a task of its own, what they receive
                is noted alone, as more may come.
            rows: how many a single one has, else 0.
        """
        if call is None:
            return None
        try:
            outputs = _answers(named_root(model), call, trained, heads)
        except Exception:  # any: it is the model's own code, on an input that nobody promised to it
            return None
        return cls(call, rows, outputs) if outputs else None

    def differs(self, now: Probe | None, classes: Collection[int]) -> float:
        """The largest difference of an output, relative to its size and to what rounding explains.

        Args:
            now: of the model in question; ``None`` differs without bound.
            classes: those of earlier experiences: of logits no others are compared.
        """
        if now is None or len(now.outputs) != len(self.outputs):
            return math.inf
        pairs = zip(self.outputs, now.outputs, strict=True)
        return max(_difference(then, new, sorted(classes), self.rows) for then, new in pairs)


def _difference(then: Tensor, now: Tensor, classes: list[int], rows: int) -> float:
    if rows and then.shape[-1:] == (rows,) <= now.shape[-1:]:
        then, now = then[..., classes], now[..., classes]
    if then.shape != now.shape:
        return math.inf
    both = then.isfinite() & now.isfinite()
    tolerance = max(_TOLERANCES.get(t.dtype, _COARSE) for t in (then, now))
    then, now = then[both].double(), now[both].double()
    size = then.norm().clamp_min(torch.finfo(torch.float64).tiny)
    return float((now - then).norm() / size) / tolerance


@torch.no_grad()
def _answers(
    model: nn.Module, call: dict[str, Any], trained: Collection[str], heads: Collection[nn.Module]
) -> tuple[Tensor, ...]:
    names = {own_name(name) for name in trained}
    made = {
        f"model.{name}": _made_weight(own_name(name), p)
        for name, p in model.named_parameters()
        if p.requires_grad or own_name(name) in names
    }
    place = next(model.parameters()).device
    received: list[Tensor] = []
    modules = {str(number): head for number, head in enumerate(heads)}
    with (
        inference_state(model),
        _untouched(model, place),
        torch.autocast(place.type, enabled=False),
        watching(modules, before=lambda _, __, x, ___: received.extend(floats_in(x))),
    ):
        args, kwargs = made_call(call, place)
        result = functional_call(_Forward(model), made, args, kwargs)
    found = received if len(heads) > 1 else [*received, *floats_in(result)]
    return tuple(tensor.detach().cpu() for tensor in found)


class _Forward(nn.Module):
    """A model's forward pass without the hooks that others have on it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.model, EncodesImages):
            return self.model.encode_image(*args, **kwargs)
        return self.model.forward(*args, **kwargs)


@contextmanager
def _untouched(model: nn.Module, place: torch.device) -> Iterator[None]:
    """Buffers and random states are to the bit as before afterwards."""
    before = {module: dict(module._buffers) for module in model.modules()}
    copies = {id(b): (b, b._version, b.clone()) for b in model.buffers() if not b.is_inference()}
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        try:
            yield
        finally:
            for module, buffers in before.items():
                module._buffers.update(buffers)
            for buffer, version, copy in copies.values():
                if buffer._version != version:
                    buffer.copy_(copy)


def _made_weight(name: str, like: Tensor) -> Tensor:
    """Numbers from a name and indices, about as large as weights are; no index depends on a size."""
    phase = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    angle = torch.full((), math.sqrt(2) * (1 + phase), dtype=torch.float64)
    for size in like.shape:
        angle = angle[..., None] * torch.arange(1, size + 1, dtype=torch.float64)
    width = like.shape[-1] if like.dim() > 1 else 100
    made = (angle + 2 * math.pi * phase).sin() / math.sqrt(max(width, 1))
    return made.to(like)
