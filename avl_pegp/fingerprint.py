"""What tells one model from another: the bytes of its frozen tensors, and how its modules are set up.

Names are those of the model itself, without what ``DataParallel``, ``DistributedDataParallel`` and
``torch.compile`` put before them. What a module changes as it runs belongs in a private attribute
(``_calls``): those never count.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.wrappers import named_root

_RENAMED = {
    "ContextVectors": "LearnedRows",
    "InputTokens": "LearnedRows",
}  # since states were saved
_RUNTIME = {  # attributes that change no answer in eval mode, or only how many classes there are
    "fused_attn",
    "grad_checkpointing",
    "gradient_checkpointing",
    "inplace",
    "num_classes",
    "training",
}


def own_name(name: str) -> str:
    """A name in the model itself: without the parts that wrappers add.

    Example:
        >>> own_name("module.blocks.0._orig_mod.attn")
        'blocks.0.attn'
    """
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while parts[:1] == ["module"]:
        parts.pop(0)
    return ".".join(parts)


def frozen_tensors(model: nn.Module, trained: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a model that are not trained, by name.

    Floating-point buffers count, such as running statistics; others, such as a growing head's record
    of its classes, do not, nor what a module says is added to without changing what was there, by an
    attribute ``growing`` with the names of buffers.

    Args:
        model: may be wrapped.
        trained: names of parameters and buffers to leave out.
    """
    model, apart = named_root(model), {own_name(name) for name in trained}
    for path, module in model.named_modules():
        apart |= {own_name(f"{path}.{name}") for name in getattr(module, "growing", ())}
    floats = ((name, b) for name, b in model.named_buffers() if b.is_floating_point())
    found = {own_name(name): t.detach() for name, t in (*model.named_parameters(), *floats)}
    return {name: tensor for name, tensor in found.items() if name not in apart}


def digest_of(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """SHA-256 over names, shapes, dtypes and bytes.

    Args:
        tensors: by name; their order counts.
        dtype: cast floating-point values to it first, so that a model counts as the same in a wider
            dtype; ``None`` for as they are.

    Example:
        >>> digest_of({"w": torch.zeros(1)}) == digest_of({"w": torch.zeros(1, dtype=torch.float64)})
        False
    """
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sums_of(tensors: Mapping[str, Tensor]) -> list[int]:
    """A number for each tensor that hardly any change leaves the same: the sum of its bits as numbers.

    It takes a tenth of the time of a digest, and is not meant to tell one model from another.

    Example:
        >>> sums_of({"w": torch.ones(2)}) == sums_of({"w": torch.tensor([1.0, 1.0000001])})
        False
    """
    flat = [t.detach().contiguous().flatten() for t in tensors.values()]
    words = [t.view(torch.int64 if t.nbytes % 8 == 0 else torch.uint8).sum() for t in flat]
    return torch.stack([number.cpu() for number in words]).tolist() if words else []


def settings_of(model: nn.Module, apart: Collection[str] = ()) -> dict[str, str]:
    """How a model's modules are set up: the type of each by its path, ``path:name`` for a setting.

    A setting is a public attribute with a fractional number or a function; or one with any number,
    text or truth value that has the name of an argument of the constructor. Rates of dropout and
    switches between equal ways to compute do not count.

    Args:
        model: may be wrapped.
        apart: paths of modules to leave out with all below them, as a classifier that may grow.

    Example:
        >>> settings_of(nn.Sequential(nn.GELU("tanh")))
        {'': 'Sequential', '0': 'GELU', '0:approximate': "'tanh'"}
    """
    found = {}
    modules = dict(named_root(model).named_modules())
    kinds: set[Any] = {type(module) for module in modules.values()}
    arguments = {kind: _arguments(kind) for kind in kinds}
    for path, module in modules.items():
        path = own_name(path)
        if not any(path == other or path.startswith(f"{other}.") for other in apart):
            found[path] = type(module).__name__  # what torch.compile wraps comes after its wrapper
            found |= {f"{path}:{name}": text for name, text in _settings(module, arguments)}
    return found


def changed_settings(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, in words. Settings that only one of both has don't count: libraries add some."""
    then = {key: _RENAMED.get(text, text) for key, text in then.items()}
    gone = [key for key in then if ":" not in key and key not in now]
    other = [key for key in then if key in now and now[key] != then[key]]
    return [f"{key} ({then[key]}) is gone" for key in gone] + [
        f"{key.lstrip(':') or 'the model'} was {then[key]} and is {now[key]}" for key in other
    ]


def _settings(
    module: nn.Module, arguments: Mapping[type, Collection[str]]
) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        if name.startswith("_") or name in _RUNTIME or "drop" in name:
            continue
        if name == "p" and isinstance(module, nn.modules.dropout._DropoutNd):
            continue
        text = _as_text(value)
        if text is not None and (name in arguments[type(module)] or _is_setting(value)):
            yield name, text


@cache
def _arguments(kind: Any) -> Collection[str]:
    return inspect.signature(kind.__init__).parameters.keys()


def _is_setting(value: Any) -> bool:
    """Whether it is one whatever its name: whole numbers may be counters."""
    if isinstance(value, Mapping):  # peft's, one for each adapter
        return any(isinstance(part, float) for part in value.values())
    return isinstance(value, float | FunctionType | BuiltinFunctionType)


def _as_text(value: Any) -> str | None:
    """``None`` for what is neither a number, a text or a function, nor made of such."""
    if isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value.__qualname__
    if isinstance(value, tuple | list):
        parts = [_as_text(part) for part in value]
        return None if None in parts else repr(parts)
    if isinstance(value, dict) and all(isinstance(part, int | float) for part in value.values()):
        return repr(value)
    return None
