"""Fashion-MNIST as its authors pack it: four files of the form idx."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.arrays import ArrayImages
from avl_pegp.benchmarks.class_folders import require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.few_per_class import few_per_class
from avl_pegp.benchmarks.lists import DataError, named

#: The ten classes in label order.
FASHION: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_SIDE = 28
_LAYOUT = """\
train-images-idx3-ubyte  training images
train-labels-idx1-ubyte  their labels
t10k-images-idx3-ubyte   test images
t10k-labels-idx1-ubyte   their labels
(the four files of Fashion-MNIST; as they are, .gz, or unpacked)"""
_ADVICE = "take the file from Fashion-MNIST's source again."


def read_fashion_mnist(
    data_root: Path | str,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Fashion-MNIST: 60,000 training and 10,000 test images of 28x28 grey pixels, of 10 classes.

    An item is an RGB image of three equal channels. All are held in memory, 55 MB.

    Args:
        data_root: the folder that holds the four files, each packed by gzip or not; of a file that is
            there in both forms, the unpacked one is read.
        train_per_class: training images of each class, drawn; None is all.
        test_per_class: test images of each class, drawn; None is all.
        seed: draws the images.

    Raises:
        DataError: files are absent, damaged, or hold something else.
        ValueError: a count is below 1, or higher than a class has images.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017.

    Example:
        >>> read_fashion_mnist("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in ...
    """
    folder = require_folder(Path(data_root), _LAYOUT)
    train, test = (_images(folder, part) for part in ("train", "t10k"))
    data = few_per_class(ImageData(train, test, FASHION), train_per_class, test_per_class, seed)
    # As images in files have it: all of these are converted to RGB.
    return replace(data, facts={"converted": len(data.train) + len(data.test)})


def split_fashion_mnist(
    data_root: Path | str,
    n_experiences: int = 5,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_fashion_mnist``, two new classes a time."""
    data = read_fashion_mnist(data_root, train_per_class, test_per_class, seed)
    return class_incremental(data, n_experiences, **options)


def _images(folder: Path, part: str) -> ArrayImages:
    """The images and labels of one part, in its order."""
    file, images = _read(folder, f"{part}-images-idx3-ubyte", axes=3)
    of_labels, labels = _read(folder, f"{part}-labels-idx1-ubyte", axes=1)
    if images.shape[1:] != (_SIDE, _SIDE):
        height, width = images.shape[1:]
        raise DataError(
            f"{file} has images of {height}x{width} pixels, and must have {_SIDE}x{_SIDE}; {_ADVICE}"
        )
    if len(labels) != len(images):
        raise DataError(
            f"{of_labels} has {len(labels)} labels for the {len(images)} images of {file}: must be one "
            f"for each; {_ADVICE}"
        )
    beyond = sorted({*labels.tolist()} - {*range(len(FASHION))})
    if beyond:
        raise DataError(
            f"{of_labels} has the labels {named([*map(str, beyond)])}: must be from 0 to "
            f"{len(FASHION) - 1}; {_ADVICE}"
        )
    return ArrayImages(images, labels.tolist())


def _read(folder: Path, name: str, axes: int) -> tuple[Path, npt.NDArray[np.uint8]]:
    """The array in a file of the form idx, packed or not, and which file that is."""
    forms = folder / name, folder / f"{name}.gz"
    file = next((form for form in forms if form.exists()), None)
    if file is None:
        raise DataError(
            f"There is no file {forms[0]}, nor {forms[1].name}. Put this there:\n{_LAYOUT}"
        )
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}; {_ADVICE}") from error
    magic, header = bytes((0, 0, 8, axes)), 4 + 4 * axes  # 8 stands for uint8
    if content[:4] != magic or len(content) < header:
        raise DataError(
            f"{file} begins with {content[:4].hex(' ') or 'nothing'}: a file of the form idx with "
            f"{axes} axes of bytes begins with {magic.hex(' ')}; {_ADVICE}"
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"{file} says that it has {' x '.join(map(str, shape))} bytes, and has "
            f"{len(content) - header}: it is cut short or damaged; {_ADVICE}"
        )
    return file, np.frombuffer(content, np.uint8, offset=header).reshape(shape)
