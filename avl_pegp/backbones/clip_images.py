"""What images must be like for a CLIP model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["require_images"]

_SLACK = 0.5  # what interpolation and noise may add to normalised pixels


def require_images(images: Tensor, visual: Any) -> None:
    """Raise ValueError for images that an image tower was not made for.

    Args:
        images: to be floats ``(B, 3, h, w)`` of the tower's size, normalised.
        visual: open_clip's image tower, with ``image_size``, ``image_mean`` and ``image_std``.
    """
    size = tuple(visual.image_size)
    fits = images.dim() == 4 and len(images) and images.shape[1:] == (3, *size)
    if not fits or not images.is_floating_point():
        raise ValueError(
            f"images {tuple(images.shape)} of {images.dtype}: must be floats (B, 3, {size[0]}, "
            f"{size[1]}), at least one; use the transforms of transforms_of(model)"
        )
    mean, std = torch.tensor(visual.image_mean), torch.tensor(visual.image_std)
    low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
    least, most = (float(v) for v in images.detach().aminmax())
    if not low - _SLACK <= least <= most <= high + _SLACK:
        raise ValueError(
            f"images have pixels from {least:.3g} to {most:.3g}: normalised ones lie between "
            f"{low:.3g} and {high:.3g}; use the transforms of transforms_of(model)"
        )
