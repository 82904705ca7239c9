"""Styles and corruptions of images: what makes a domain of the same letters.

Each is a function of uint8 images ``(N, 3, H, W)`` and a generator, and returns new images alike;
lengths are shares of the image's side, so that they look the same at every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Corruption = Callable[[Tensor, Generator], Tensor]

_BLUR = 0.045  # standard deviation: strokes run into each other, letters can still be told
_NOISE = 0.25  # standard deviation; pixels go from 0 to 1
_PERIOD, _OPACITY, _DARK = 0.2, 0.5, 128  # of stripes; their colours stay below the latter
_PATCH = 0.35  # side of the square that hides a part


def plain(images: Tensor, generator: Generator) -> Tensor:
    """The images as they are."""
    return images.clone()


def inverted(images: Tensor, generator: Generator) -> Tensor:
    """Their negatives: light ink on dark paper, where it was dark on light."""
    return 255 - images


def blurred(images: Tensor, generator: Generator) -> Tensor:
    """Out of focus: a Gaussian filter, edges repeated."""
    deviation = _BLUR * images.shape[-1]
    radius = math.ceil(3 * deviation)
    offsets = torch.arange(-radius, radius + 1)
    bell = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = (bell / bell.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images.float(), [radius] * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=len(kernel))
    return _to_uint8(F.conv2d(rows, kernel.mT, groups=len(kernel)))


def rotated(images: Tensor, generator: Generator) -> Tensor:
    """A quarter turn to the left."""
    return images.rot90(1, (-2, -1))


def striped(images: Tensor, generator: Generator) -> Tensor:
    """Slanting stripes of one random dark colour shine through light paper, shifted at random."""
    n, _, height, width = images.shape
    across = torch.arange(height)[:, None] + torch.arange(width)
    phase = torch.rand((n, 1, 1, 1), generator=generator)
    on = (across / (2**0.5 * _PERIOD * width) + phase) % 1 < 0.5
    colour = _DARK * torch.rand((n, 3, 1, 1), generator=generator)
    return _to_uint8(torch.lerp(images.float(), colour, _OPACITY * on.float()))


def noisy(images: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise on every channel of every pixel."""
    return _to_uint8(images + 255 * _NOISE * torch.randn(images.shape, generator=generator))


def occluded(images: Tensor, generator: Generator) -> Tensor:
    """A square of a random colour hides a part, at a random place."""
    n, _, height, width = images.shape
    side = round(_PATCH * width)
    top = torch.randint(height - side + 1, (n, 1, 1, 1), generator=generator)
    left = torch.randint(width - side + 1, (n, 1, 1, 1), generator=generator)
    down = torch.arange(height)[:, None] - top
    right = torch.arange(width) - left
    hidden = (down >= 0) & (down < side) & (right >= 0) & (right < side)
    colour = torch.randint(256, (n, 3, 1, 1), generator=generator, dtype=torch.uint8)
    return torch.where(hidden, colour, images)


def _to_uint8(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


#: By name; add a function of your own to use it in a domain.
CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (plain, inverted, blurred, rotated, striped, noisy, occluded)
}


def corruption_generator(seed: int) -> Generator:
    """A generator for images that were rendered with the same seed.

    Its sequence is another: with the renderer's own, the place of a patch would go with the font.

    Args:
        seed: that of the images.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> CORRUPTIONS["occluded"](images, corruption_generator(0)).shape
        torch.Size([2, 3, 32, 32])
    """
    return torch.Generator().manual_seed(~seed % 2**32)
