"""What a file of weights holds: tensors by their names, and whether a model wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor, nn


class WeightsError(RuntimeError):
    """A file of weights is missing, damaged, unsafe, or of another model than the one it is for."""


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


_NAMED = 3  # a message names so many of a kind and counts the rest


def check_fit(
    complaint: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: str
) -> None:
    """Refuse tensors that are not, by name and shape, those that a model wants, or hold no weights.

    Args:
        complaint: how the message begins: what does not fit what.
        found: of a file.
        wanted: of the model.
        names: how the message ends: whose names the tensors must have.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; or it has whole numbers
            where the model has fractions, or NaN, or numbers beyond the range of the model's dtype.

    Example:
        >>> import torch
        >>> try:
        ...     check_fit("a.pth does not fit b", {"w": torch.zeros(2)}, {}, "with b's names")
        ... except WeightsError as error:
        ...     print(str(error)[:50])
        a.pth does not fit b: 1 unexpected (w (2,)). Give
    """
    differences = {
        "missing": [f"{k} {tuple(v.shape)}" for k, v in wanted.items() if k not in found],
        "unexpected": [f"{k} {tuple(v.shape)}" for k, v in found.items() if k not in wanted],
        "of another shape": [
            f"{k} {tuple(found[k].shape)} for {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in found and found[k].shape != v.shape
        ],
    }
    if any(differences.values()):
        kinds = [f"{len(keys)} {k} ({first_of(keys)})" for k, keys in differences.items() if keys]
        raise WeightsError(
            f"{complaint}: {'; '.join(kinds)}. Give the name and the options of the "
            f"architecture that it was saved from, {names}"
        )
    cast = [
        f"{name} {found[name].dtype} for {tensor.dtype}"
        for name, tensor in wanted.items()
        if found[name].is_floating_point() != tensor.is_floating_point()
    ]
    if cast:
        raise WeightsError(
            f"{complaint}: {len(cast)} of another kind of number ({first_of(cast)}). Quantised or "
            "rounded weights are not read as they stand: save them as floats, in their own scale"
        )
    odd = [
        f"{name} at {int(count)} of {tensor.numel()}"
        for name, tensor in wanted.items()
        if (count := (~found[name].to(tensor.dtype).isfinite()).sum())
    ]
    if odd:
        raise WeightsError(
            f"{complaint}: {len(odd)} with NaN, or with numbers too large for the model's type "
            f"({first_of(odd)}). Copy the file again, or take weights from before training diverged"
        )


def first_of(phrases: Sequence[str]) -> str:
    """The first few phrases, with a mark where there are more.

    Example:
        >>> first_of(["a", "b"]), first_of("abcd")
        ('a, b', 'a, b, c, …')
    """
    return ", ".join(phrases[:_NAMED]) + (", …" if len(phrases) > _NAMED else "")
