"""Images held in memory, as all embedded benchmarks have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, 3, H, W) with int labels (N,); ``targets`` is where Avalanche finds them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.targets: list[int] = labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def normalise(image: Tensor) -> Tensor:
    """uint8 images of any shape, 0..255, to float32 -1..1: mean 0.5 and standard deviation 0.5.

    So the tiny ViT and the tiny CLIP expect them.

    Example:
        >>> import torch
        >>> normalise(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """
    return image.float() / 127.5 - 1


class LabelledDataset(Protocol):
    """What an experience is made of: a data set of (image, label) that knows its labels."""

    @property
    def targets(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...
