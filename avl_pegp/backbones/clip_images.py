"""What images must be like for a CLIP model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["require_images"]

_SLACK = 0.5  # what interpolation and noise may add to normalised pixels
_ROUNDING = 0.01  # of a step of 8-bit pixels: far above that of float32


def require_images(images: Tensor, visual: Any) -> None:
    """Raise ValueError for images that an image tower was not made for.

    Pixels that were only scaled to 0..1 are told by their steps of 1/255. Those that were resized or
    changed as floats afterwards, or are in half precision, have no steps and pass.

    Args:
        images: to be floats ``(B, 3, h, w)`` of the tower's size and dtype, normalised.
        visual: open_clip's image tower, with ``image_size``, ``image_mean`` and ``image_std``.
    """
    weights = next(p for p in visual.parameters() if p.dim() == 4)  # of the patch embedding
    size = tuple(visual.image_size)
    fits = images.dim() == 4 and len(images) and images.shape[1:] == (3, *size)
    if not fits or not images.is_floating_point():
        raise ValueError(
            f"images {tuple(images.shape)} of {images.dtype}: must be floats (B, 3, {size[0]}, "
            f"{size[1]}), at least one; use the transforms of transforms_of(model)"
        )
    # autocast does not touch doubles
    is_cast = torch.is_autocast_enabled(images.device.type) and images.dtype != torch.float64
    if images.dtype != weights.dtype and not is_cast:
        raise ValueError(
            f"images of {images.dtype}: must be of {weights.dtype}, as the model is; use "
            f"images.to({weights.dtype}), or torch.autocast"
        )
    pixels = images.detach().float()
    mean, std = (pixels.new_tensor(v)[:, None, None] for v in (visual.image_mean, visual.image_std))
    low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
    least, most = (float(v) for v in pixels.aminmax())
    inside = low - _SLACK <= least <= most <= high + _SLACK
    is_scaled = least >= 0 and most <= 1 and _is_merely_scaled(pixels, mean, std)
    if not inside or is_scaled:
        steps = ", all whole 255ths as ToTensor leaves them" if is_scaled else ""
        raise ValueError(
            f"images have pixels from {least:.3g} to {most:.3g}{steps}: normalised ones lie between "
            f"{low:.3g} and {high:.3g}; use the transforms of transforms_of(model)"
        )


def _is_merely_scaled(images: Tensor, mean: Tensor, std: Tensor) -> bool:
    """Whether images in 0..1 are 8-bit ones that were divided by 255 and not normalised.

    Bright images lie there when normalised too, but not on these steps. Plain planes, and zeros and
    ones alone, are no evidence: tests are made of them.
    """
    planes = images.flatten(2)
    drawn = (planes.amin(dim=2) < planes.amax(dim=2)).any() and ((images > 0) & (images < 1)).any()
    return bool(drawn and _is_8_bit(images) and not _is_8_bit(images * std + mean))


def _is_8_bit(images: Tensor) -> bool:
    levels = images * 255
    return bool(((levels - levels.round()).abs() < _ROUNDING).all())
