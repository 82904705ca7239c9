"""CIFAR-100 as its authors pack it: three Python pickles, read without trusting them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from avalanche.benchmarks import NCScenario
from PIL import Image
from torch.utils.data import Dataset

from avl_pegp.benchmarks._plain_pickle import PlainArray, load_plain
from avl_pegp.benchmarks.image_files import DataError, require_folder
from avl_pegp.benchmarks.image_streams import ImageTransform, split_images

__all__ = ["split_cifar100"]

_CLASSES, _SIDE = 100, 32
_LAYOUT = """\
cifar-100-python/train  training images
cifar-100-python/test   test images
cifar-100-python/meta   names of the classes
(the Python version of CIFAR-100, cifar-100-python.tar.gz, unpacked)"""
_ADVICE = "take the file from the original cifar-100-python.tar.gz again."


def split_cifar100(
    data_root: Path | str,
    n_experiences: int = 10,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels, ten new classes a time.

    The files are Python pickles, which could run any code; those that hold anything but
    arrays of pixels, lists, dicts, strings and numbers are refused. All images are held in memory,
    180 MB.

    Args:
        data_root: the folder that holds ``cifar-100-python`` with ``train``, ``test`` and ``meta``.
        n_experiences: how many experiences of equally many classes; a divisor of 100.
        class_order: labels of the data set in the order of learning; None keeps label order. The
            labels of the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` and ``data`` (numbers of images).

    Raises:
        DataError: files are absent, damaged, or hold something else.
        ValueError: an argument is out of range.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Example:
        >>> split_cifar100("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in ...
    """
    folder = require_folder(Path(data_root) / "cifar-100-python", _LAYOUT)
    benchmark = split_images(
        _images(folder / "train"),
        _images(folder / "test"),
        _class_names(folder / "meta"),
        n_experiences,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data["converted"] = 0  # as for images in files: these are all RGB
    return benchmark


class _ArrayImages(Dataset[tuple[Image.Image, int]]):
    """RGB images held in memory, uint8 (N, H, W, 3); an item is a PIL image and its label."""

    def __init__(self, images: npt.NDArray[np.uint8], targets: list[int]) -> None:
        self.images = images
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.targets[index]


def _class_names(file: Path) -> list[str]:
    """The names of the classes by label."""
    names = _read(file).get("fine_label_names")
    if not isinstance(names, list) or len(names) != _CLASSES:
        raise DataError(f"{file} must have the {_CLASSES} names fine_label_names; {_ADVICE}")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _images(file: Path) -> _ArrayImages:
    """The images and labels of one file, in its order."""
    content = _read(file)
    array, labels = content.get("data"), content.get("fine_labels")
    if not isinstance(array, PlainArray) or array.pixels.shape[1:] != (3 * _SIDE * _SIDE,):
        raise DataError(f"{file} must have data of (N, {3 * _SIDE * _SIDE}) pixels; {_ADVICE}")
    # A row is the red, the green and the blue plane of an image.
    images = array.pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(label in range(_CLASSES) for label in labels)
    ):
        raise DataError(
            f"{file} must have fine_labels of 0 to {_CLASSES - 1}, one for each of its "
            f"{len(images)} images; {_ADVICE}"
        )
    return _ArrayImages(images, labels)


def _read(file: Path) -> dict[str, Any]:
    """The dict in one file, its keys as text."""
    try:
        content = load_plain(file)
        return {key.decode() if isinstance(key, bytes) else key: content[key] for key in content}
    except Exception as error:  # there is no end to the types that a damaged pickle raises
        raise DataError(f"{file} cannot be read: {error}; {_ADVICE}") from error
