"""Images of a data set that is held in memory whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset


class ArrayImages(Dataset[tuple[Image.Image, int]]):
    """Images held in memory; an item is an RGB image of PIL and its label.

    Args:
        images: uint8, (N, H, W, 3) of colours or (N, H, W) of grey.
        targets: the label of each.

    Example:
        >>> ArrayImages(np.zeros((1, 28, 28), np.uint8), [7])[0][0].mode
        'RGB'
    """

    def __init__(self, images: npt.NDArray[np.uint8], targets: list[int]) -> None:
        self.images = images
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]).convert("RGB"), self.targets[index]
