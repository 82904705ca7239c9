"""Real handwritten digits that scikit-learn ships: nothing to download."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from avalanche.benchmarks import GenericCLScenario, NCScenario
from sklearn.datasets import load_digits
from typing_extensions import Unpack

from avl_pegp.benchmarks.blurry import blurry_incremental
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import EMBEDDED, ImageData, ImageDataset

#: The ten classes in label order.
DIGITS: tuple[str, ...] = tuple("0123456789")
_TEST_EVERY = 4  # one image of each class in so many is held out


def read_digits() -> ImageData:
    """The 1,797 digits of scikit-learn.

    The 8x8 grey images become 3x32x32 by bilinear interpolation; datasets hold them as uint8 and
    give normalised floats (mean 0.5, standard deviation 0.5) in training and evaluation alike.
    Every fourth image of each digit is a test image, always the same ones.
    """
    return ImageData(*load_parts(), DIGITS, **EMBEDDED)


def split_digits(n_experiences: int = 5, **options: Unpack[ByClass]) -> NCScenario:
    """``class_incremental`` of ``read_digits``, two new ones in each experience.

    Example:
        >>> benchmark = split_digits()
        >>> len(benchmark.train_stream), benchmark.class_names[:2]
        (5, ('0', '1'))
    """
    return class_incremental(read_digits(), n_experiences, **options)


def blurry_digits(
    n_experiences: int = 5,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    order_seed: int | None = None,
) -> GenericCLScenario:
    """``blurry_incremental`` of ``read_digits``."""
    return blurry_incremental(read_digits(), n_experiences, disjoint, blurry, order_seed)


def load_parts() -> tuple[ImageDataset, ImageDataset]:
    """Training and test images of the digits."""
    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # pixels are 0 to 16
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(DIGITS)):
        held_out[(labels == label).nonzero().flatten()[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    train, test = (ImageDataset(images[rows], labels[rows]) for rows in (~held_out, held_out))
    return train, test
