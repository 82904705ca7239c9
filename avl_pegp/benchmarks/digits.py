"""Real handwritten digits that scikit-learn ships: nothing to download."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from avalanche.benchmarks import NCScenario
from sklearn.datasets import load_digits
from torch import Tensor

from avl_pegp.benchmarks._class_incremental import split_by_class
from avl_pegp.benchmarks._images import ImageDataset
from avl_pegp.benchmarks._order import order_of

__all__ = ["split_digits"]

#: The ten classes in label order.
DIGITS: tuple[str, ...] = tuple("0123456789")
_TEST_EVERY = 4  # one image of each class in so many is held out


def split_digits(
    n_experiences: int = 5,
    class_order: Sequence[int] | None = None,
    task_labels: bool = False,
    order_seed: int | None = None,
) -> NCScenario:
    """The 1,797 digits of scikit-learn, two new ones in each experience.

    The 8x8 grey images become 3x32x32 by bilinear interpolation; datasets hold them as uint8 and
    give normalised floats (mean 0.5, standard deviation 0.5) in training and evaluation alike.
    Every fourth image of each digit is a test image, always the same ones.

    Args:
        n_experiences: how many experiences of equally many classes: 1, 2, 5 or 10.
        class_order: the digits in the order of learning; None is 0 to 9. The labels of the
            benchmark count up in this order.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
            Class labels are the same either way, and no two experiences share one.
        order_seed: draws the class order; not together with ``class_order``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label) and
        ``class_order``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = split_digits()
        >>> len(benchmark.train_stream), benchmark.class_names[:2]
        (5, ('0', '1'))
    """
    order = order_of(len(DIGITS), class_order, order_seed)
    return split_by_class(*load_parts(), DIGITS, n_experiences, order, task_labels)


def load_parts() -> tuple[ImageDataset, ImageDataset]:
    """Training and test images of the digits."""
    images, labels = _load()
    held_out = _held_out(labels)
    train = ImageDataset(images[~held_out], labels[~held_out])
    return train, ImageDataset(images[held_out], labels[held_out])


def _load() -> tuple[Tensor, Tensor]:
    """All images, uint8 (1797, 3, 32, 32), and labels, int64 (1797,)."""
    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # pixels are 0 to 16
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).repeat(1, 3, 1, 1)
    return images, torch.from_numpy(digits.target)


def _held_out(labels: Tensor) -> Tensor:
    """True for every fourth image of each class, bool (N,)."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(DIGITS)):
        held_out[(labels == label).nonzero().flatten()[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    return held_out
