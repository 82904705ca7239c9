"""More images made of those at hand: mixed or cut together, shifted and turned."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SHIFT = 0.25  # of half the image, at most
_TURN = 20.0  # degrees, at most
_CUT = 0.5  # of each side, that comes from the other image


def made_images(
    images: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As many images again, each made of two, and the labels of those two.

    One half is a mixture, in equal chances of any share; of the other a square that holds a quarter of
    the image comes from the second. Each is then shifted and turned; what comes in repeats the border.

    Args:
        images: ``(B, channels, H, W)``.
        labels: ``(B,)``.
        generator: draws, on the CPU.

    Returns:
        Images of the same shape, and labels ``(B, 2)``.

    Raises:
        ValueError: no images, as of another shape.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> images, origins = made_images(torch.rand(4, 3, 8, 8), torch.arange(4), generator)
        >>> images.shape, origins.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4, 2]))
    """
    if images.ndim != 4:
        raise ValueError(
            f"images have shape {tuple(images.shape)}: must be (B, channels, H, W), to be mixed "
            "and turned"
        )
    size, _, height, width = images.shape
    other = torch.randperm(size, generator=generator)
    shares = torch.rand(size, 1, 1, 1, generator=generator).expand(size, 1, height, width).clone()
    for i in range(0, size, 2):
        top, left = torch.rand(2, generator=generator).tolist()
        rows, columns = round(height * _CUT), round(width * _CUT)
        y, x = round(top * (height - rows)), round(left * (width - columns))
        shares[i] = 1
        shares[i, :, y : y + rows, x : x + columns] = 0
    shares = shares.to(images)
    made = shares * images + (1 - shares) * images[other.to(images.device)]
    return _moved(made, generator), torch.stack([labels, labels[other.to(labels.device)]], dim=1)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted and turned, each on its own."""
    size, _, height, width = images.shape
    angle, right, down = (2 * torch.rand(3, size, generator=generator) - 1).unbind()
    angle, right, down = math.radians(_TURN) * angle, _SHIFT * right, _SHIFT * down
    cos, sin, ratio = angle.cos(), angle.sin(), height / width
    maps = torch.stack([cos, -sin * ratio, right, sin / ratio, cos, down], dim=1).view(size, 2, 3)
    grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
