"""Sets of images with captions, and with captions that are false of them in one thing."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from avl_pegp.benchmarks._images import ImageDataset, normalise
from avl_pegp.benchmarks._scene_classes import SceneClass, caption_of, classes_by, render_classes
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

_VALUES = {"colour": COLOURS, "typeface": TYPEFACES, "position": POSITIONS}


class CaptionSet(NamedTuple):
    """Images, the captions that compete for them, and foils.

    Attributes:
        dataset: of (normalised image, index of its caption).
        captions: distinct.
        foils: int64 ``(n, K)``, for each image K captions that name something which is not in it.
    """

    dataset: ImageDataset
    captions: tuple[str, ...]
    foils: Tensor


def values_of(characters: Sequence[str]) -> dict[str, Collection[str]]:
    """What captions mention, by attribute; a character makes 120 of them."""
    return {"character": characters, **_VALUES}


def caption_classes(characters: Sequence[str]) -> list[SceneClass]:
    """All combinations of a character, a colour, a typeface and a position."""
    return classes_by(**values_of(characters))


def caption_set(characters: Sequence[str], seed: int, domain: str) -> CaptionSet:
    """One image of each caption of these characters."""
    classes = caption_classes(characters)
    dataset = render_classes(classes, 1, seed, domain)
    dataset.images = normalise(dataset.images)
    captions = tuple(map(caption_of, classes))
    return CaptionSet(dataset, captions, foils_of(dataset.targets, characters, seed))


def foils_of(labels: Sequence[int], characters: Sequence[str], seed: int) -> Tensor:
    """Captions that are true but for one attribute, a column for each: ``(len(labels), 4)``."""
    sizes = [len(each) for each in values_of(characters).values()]
    generator = torch.Generator().manual_seed(seed)
    true = torch.tensor(labels)
    columns = []
    stride = math.prod(sizes)  # labels number the combinations, the last attribute's value fastest
    for size in sizes:
        stride //= size
        value = true // stride % size
        other = (value + torch.randint(1, size, true.shape, generator=generator)) % size
        columns.append(true + (other - value) * stride)
    return torch.stack(columns, 1)
