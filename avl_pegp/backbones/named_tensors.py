"""What a checkpoint holds: tensors by their names, without wrappers and prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor, nn

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.fitting import first_of

__all__ = ["named_tensors"]

_WRAPPERS = ("state_dict", "model")
_DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
}


def named_tensors(found: Any, path: Path) -> dict[str, Tensor]:
    """Take off ``{"state_dict": …}``, ``{"model": …}`` and the prefixes of DDP and ``torch.compile``.

    Args:
        found: what was read.
        path: the file that it was read from, for messages.

    Returns:
        Ordinary tensors on the CPU, which need no gradient.

    Raises:
        WeightsError: there is something else than tensors; an entry is no text; two names are one
            without their prefixes; the file contains itself, or two sets of weights; a tensor is
            sparse, nested, quantised, without numbers (``meta``), or of a type that is not read.

    Example:
        >>> wrapped = {"state_dict": {"module.w": torch.ones(1)}, "epoch": 3}
        >>> named_tensors(wrapped, Path("a.pth"))
        {'w': tensor([1.])}
    """
    found = _unwrapped(found, path)
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{path} holds a {type(found).__name__}: it must hold tensors by their names"
        )
    others = [f"{k!r} ({type(v).__name__})" for k, v in found.items() if not torch.is_tensor(v)]
    if others:
        raise WeightsError(
            f"{path} holds {first_of(others)} among {len(found)} entries: it must hold "
            "tensors by their names, at its top or under 'state_dict' or 'model'"
        )
    unnamed = [repr(name) for name in found if not isinstance(name, str) or not name]
    if unnamed:
        raise WeightsError(
            f"{path} holds tensors under {first_of(unnamed)}: their names must be text, as "
            "state_dict() gives them"
        )
    odd = [f"{name} ({kind})" for name, tensor in found.items() if (kind := _oddity(tensor))]
    if odd:
        raise WeightsError(
            f"{path} holds {len(odd)} of {len(found)} tensors in a form that is not read: "
            f"{first_of(odd)}; save ordinary tensors of float16, bfloat16, float32 or float64"
        )
    return _cleaned({name: tensor.detach() for name, tensor in found.items()}, path)


def _unwrapped(found: Any, path: Path) -> Any:
    """The innermost dictionary; a tensor that is called as a wrapper is a tensor."""
    passed: set[int] = set()
    while isinstance(found, Mapping) and id(found) not in passed:
        passed.add(id(found))
        inner = [w for w in _WRAPPERS if w in found and not torch.is_tensor(found[w])]
        if not inner:
            return found
        full = [w for w in inner if _holds_tensors(found[w])]
        if len(full) > 1:
            raise WeightsError(
                f"{path} holds weights under {' and '.join(map(repr, full))}: save the ones that "
                "are meant in a file of their own"
            )
        found = found[(full or inner)[0]]
    if id(found) in passed:
        raise WeightsError(
            f"{path} holds itself under one of {', '.join(map(repr, _WRAPPERS))}: save "
            "model.state_dict() alone"
        )
    return found


def _holds_tensors(entry: Any) -> bool:
    """Whether an entry is a dictionary of tensors, or wraps one."""
    return isinstance(entry, Mapping) and (
        any(map(torch.is_tensor, entry.values())) or any(w in entry for w in _WRAPPERS)
    )


def _oddity(tensor: Tensor) -> str:
    """What keeps a tensor from being read, with the way out; nothing where it is an ordinary one."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"{type(tensor).__name__}: save what it stands for as a Tensor"
    if tensor.is_nested:
        return "nested: unbind() it"
    if tensor.is_quantized:
        return "quantised: dequantize() it"
    if tensor.layout != torch.strided:
        return f"{str(tensor.layout).removeprefix('torch.')}: to_dense() it"
    if tensor.is_meta:
        return "meta: it has a shape and no numbers, save it from a model that is loaded"
    if tensor.dtype not in _DTYPES:
        return f"{tensor.dtype}: convert it"
    return ""


def _cleaned(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Without prefixes, which must not make two names one."""
    cleaned: dict[str, Tensor] = clean_state_dict(tensors)
    if len(cleaned) < len(tensors):
        lost = [k for k, t in tensors.items() if not any(t is kept for kept in cleaned.values())]
        raise WeightsError(
            f"{path} holds {first_of(lost)} a second time, with or without the prefixes 'module.' "
            "and '_orig_mod.': save the weights that are meant alone"
        )
    return cleaned
