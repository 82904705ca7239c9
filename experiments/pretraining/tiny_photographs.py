"""Tiny ImageNet as arrays in memory, and small random views of its photographs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from avl_pegp.benchmarks import normalise
from avl_pegp.benchmarks.image_files import ImageFiles

LEAST_AREA = 0.5  # of a photograph, in a view of it
GREY = 0.1  # share of the views that have no colour


def decoded(files: ImageFiles, cache: Path) -> Tensor:
    """All photographs, uint8 (N, H, W, 3), decoded once into a file.

    Args:
        files: what is decoded, all of one size.
        cache: a ``.npy`` file, written whole by a rename; one that is there is used.

    Raises:
        ValueError: the file that is there holds something else, or a photograph has another size.
    """
    width, height = files[0][0].size
    shape = (len(files), height, width, 3)
    if not cache.exists():
        temporary = cache.with_name(cache.name + ".part")
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        for row in tqdm(range(len(files)), desc=f"decoding to {cache.name}", mininterval=5):
            image = files[row][0]
            if image.size != (width, height):
                raise ValueError(
                    f"{files.paths[row]} has {image.size} pixels: must be {(width, height)}, as "
                    f"{files.paths[0]} is"
                )
            pixels[row] = np.asarray(image)
        pixels.flush()
        os.replace(temporary, cache)
    found = np.load(cache, mmap_mode="c")
    if found.dtype != np.uint8 or found.shape != shape:
        raise ValueError(
            f"{cache} holds {found.dtype} {found.shape}: must be uint8 {shape}; delete it, and it is "
            "made again"
        )
    return torch.from_numpy(found)


def random_views(pixels: Tensor, size: int, chance: torch.Generator) -> Tensor:
    """Of each photograph a random square, flipped and grey at random, as float32 -1..1.

    Args:
        pixels: uint8 (B, H, W, 3).
        size: height and width of the views.
        chance: what is drawn from.

    Returns:
        (B, 3, size, size).
    """
    count = len(pixels)
    area, across, down, flipped, grey = torch.rand(5, count, generator=chance)
    side = (LEAST_AREA + (1 - LEAST_AREA) * area).sqrt()
    where = torch.zeros(count, 2, 3)
    where[:, 0, 0] = torch.where(flipped < 0.5, side, -side)
    where[:, 1, 1] = side
    where[:, :, 2] = torch.stack([across, down], 1).mul(2).sub(1) * (1 - side)[:, None]
    grid = F.affine_grid(where, [count, 3, size, size], align_corners=False)
    images = normalise(pixels.permute(0, 3, 1, 2))
    views = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    means = views.mean(1, keepdim=True).expand_as(views)
    return torch.where((grey < GREY)[:, None, None, None], means, views)


def small(pixels: Tensor, size: int) -> Tensor:
    """Photographs as they are tested: whole, resized with Pillow as the transforms of a model do it.

    Args:
        pixels: uint8 (B, H, W, 3).
        size: height and width that they get.

    Returns:
        float32 -1..1 (B, 3, size, size).
    """
    resized = [
        Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in pixels.numpy()
    ]
    return normalise(torch.from_numpy(np.stack([np.asarray(r) for r in resized]))).permute(
        0, 3, 1, 2
    )


def order_of_rows(count: int, seed: int) -> Tensor:
    """A random order of so many rows."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def rate(step: int, steps: int, warm_up: int) -> float:
    """The share of the learning rate at a step: up linearly, then down to zero by a cosine."""
    if step < warm_up:
        return (step + 1) / warm_up
    return (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2
