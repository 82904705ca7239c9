"""Reading a state: each value is what its name says, or a ValueError names it.

Rounding may leave the sign of a number that is nearly zero open; nothing here refuses that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from avl_pegp.fingerprint import digest_of
from avl_pegp.projection.bases import Basis
from avl_pegp.projection.moments import Moment

_EXACT = 1e-8  # of what is exact but for float64's rounding


def damaged(name: str, found: Any, wanted: str) -> ValueError:
    """The error for a value that can't be."""
    shown = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)[:200]
    return ValueError(
        f"the state is incomplete or damaged: {name} is {shown}, must be {wanted}; load what "
        "state_dict() gave, as it was"
    )


def entries(value: Any, name: str, *keys: str) -> dict[str, Any]:
    """A dict with these keys and no others; without keys, with any texts."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise damaged(name, value, "a dict with names")
    missing, unknown = sorted(set(keys) - value.keys()), sorted(value.keys() - set(keys))
    if keys and (missing or unknown):
        wrong = f"without {', '.join(missing) or 'nothing'}, with {', '.join(unknown) or 'nothing'}"
        raise damaged(name, f"a dict {wrong} unknown", f"one with exactly {', '.join(keys)}")
    return value


def items(value: Any, name: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise damaged(name, value, "a list")
    return value


def count(value: Any, name: str, below: float = 2**62) -> int:
    """A whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise damaged(name, value, f"a whole number from 0 to below {below}")
    return value


def number(value: Any, name: str, low: float) -> float:
    """A finite float of at least ``low``."""
    if not isinstance(value, float) or not math.isfinite(value) or value < low:
        raise damaged(name, value, f"a finite float of at least {low:g}")
    return value


def text(value: Any, name: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise damaged(name, value, "a text")
    return value


def floating(value: Any, name: str) -> Tensor:
    """A floating-point tensor, on the CPU."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        raise damaged(name, value, "a dense floating-point tensor")
    if not value.is_floating_point():
        raise damaged(name, value, "a dense floating-point tensor")
    return value.detach().cpu()


def finite(value: Any, name: str, *shape: int | None, exact: bool = True) -> Tensor:
    """A finite tensor of this shape (``None``: any size), on the CPU; float64 where ``exact``."""
    tensor = floating(value, name)
    sizes = zip(shape, tensor.shape, strict=False)
    if shape and (len(shape) != tensor.dim() or any(n not in (None, m) for n, m in sizes)):
        raise damaged(name, tensor, f"of shape {tuple('any' if n is None else n for n in shape)}")
    if exact and tensor.dtype != torch.float64:
        raise damaged(name, tensor.dtype, "torch.float64")
    if not tensor.isfinite().all():
        raise damaged(name, tensor, "without NaN and infinite values")
    return tensor


def basis(columns: Any, holds: Any, name: str, d: int) -> Basis:
    """Orthonormal columns of width d, maybe none, each with its share."""
    U = finite(columns, f"{name}.columns", d, None)
    h = finite(holds, f"{name}.holds", U.shape[1])
    error = (U.mT @ U - torch.eye(U.shape[1], dtype=U.dtype)).abs()
    if error.numel() and error.max() > _EXACT:
        raise damaged(
            f"{name}.columns", U, f"orthonormal, and it is off by {float(error.max()):.1g}"
        )
    if not ((h >= 0) & (h <= 1)).all():
        raise damaged(f"{name}.holds", h, "between 0 and 1 throughout")
    return Basis(U, h)


def moment_to_state(moment: Moment) -> dict[str, Any]:
    """Tensors and numbers of a moment."""
    return {"matrix": moment.matrix, "feature_eps": moment.feature_eps}


def moment_from_state(state: Any, name: str) -> Moment:
    """The moment that ``moment_to_state`` described."""
    entry = entries(state, name, "matrix", "feature_eps")
    eps = number(entry["feature_eps"], f"{name}.feature_eps", 0.0)
    matrix = finite(entry["matrix"], f"{name}.matrix", None, None, None)
    require_moment(matrix, f"{name}.matrix")
    return Moment(matrix, eps)


def require_moment(matrix: Tensor, name: str) -> None:
    """Raise ValueError for ``(G, d + 1, d + 1)`` that can be no second moment of rows ``[x, 1]``."""
    if matrix.shape[1] != matrix.shape[2]:
        raise damaged(name, matrix, "square")
    sizes = matrix.diagonal(dim1=1, dim2=2)
    bound = (sizes[:, :, None] * sizes[:, None, :]).clamp_min(0).sqrt()
    slack = _EXACT * sizes.abs().amax(1)[:, None, None]
    if (sizes < 0).any() or ((matrix - matrix.mT).abs() > slack).any():
        raise damaged(name, matrix, "symmetric, with a diagonal from 0 on")
    if (matrix.abs() > bound + slack).any():
        raise damaged(name, matrix, "a sum of squares: off its diagonal it is too large for that")


def checksum(state: Any) -> str:
    """SHA-256 over all of a state: dicts, lists, tensors, texts and numbers."""
    digest = hashlib.sha256()
    for piece in _pieces(state):
        digest.update(piece.encode())
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, Tensor):
        yield digest_of({"": value})
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield f"{key!r}:"
            yield from _pieces(value[key])
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}"
        for item in value:
            yield from _pieces(item)
    else:
        yield f"{value!r},"
