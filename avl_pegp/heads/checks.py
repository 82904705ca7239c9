"""What heads are given: each is what it must be, or a ValueError names it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def checked_features(features: Tensor, width: int) -> Tensor:
    """The features in float64 on the CPU, where statistics are."""
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"features have shape {tuple(features.shape)}: must be (B, {width})")
    if not features.isfinite().all():
        raise ValueError("features are NaN or infinite: class statistics can't be made of them")
    return features.detach().double().cpu()


def checked_labels(labels: Tensor, size: int, classes: int) -> Tensor:
    """The labels as indices on the CPU."""
    if labels.shape != (size,):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}: must be ({size},), one for each of the features"
        )
    whole = not labels.is_floating_point() and not labels.is_complex()
    if not whole or labels.dtype is torch.bool:
        raise ValueError(f"labels are {labels.dtype}: must be whole numbers, as torch.int64")
    y = labels.detach().cpu().long()
    wrong = y[(y < 0) | (y >= classes)].unique().tolist()
    if wrong:
        raise ValueError(
            f"labels hold {wrong[:5]}: must be from 0 to {classes - 1}, the rows of the classifier"
        )
    return y


def checked_map(linear_map: Tensor, width: int) -> Tensor:
    """A linear map of the feature space in float64 on the CPU."""
    if linear_map.shape != (width, width):
        raise ValueError(
            f"linear_map has shape {tuple(linear_map.shape)}: must be ({width}, {width}), from features "
            "to features"
        )
    if not linear_map.isfinite().all():
        raise ValueError("linear_map is NaN or infinite: statistics can't be moved by it")
    return linear_map.detach().double().cpu()


def require_share(name: str, value: float) -> float:
    """The value itself, or ValueError where it lies outside [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}: must be from 0 to 1")
    return value


def require_above(name: str, value: float, low: float = 0.0) -> float:
    """The value itself, or ValueError where it is not finite and above ``low``."""
    if not low < value < math.inf:
        raise ValueError(f"{name}={value!r}: must be above {low:g} and finite")
    return value


def require_count(name: str, value: int) -> int:
    """The value itself, or ValueError where it is no whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: must be a whole number from 1 up")
    return value
