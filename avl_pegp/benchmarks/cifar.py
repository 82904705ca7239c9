"""CIFAR-100: as its authors pack it, in pickles read without trusting them, or in class folders."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.arrays import ArrayImages
from avl_pegp.benchmarks.class_folders import require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.few_per_class import few_per_class
from avl_pegp.benchmarks.image_folder import files_of_classes, same_classes
from avl_pegp.benchmarks.lists import DataError, named

_CLASSES, _SIDE = 100, 32
_PICKLED, _PARTS = "cifar-100-python", ("train", "test")
_LAYOUT = """\
cifar-100-python/train  training images
cifar-100-python/test   test images
cifar-100-python/meta   names of the classes
(the Python version of CIFAR-100, cifar-100-python.tar.gz, unpacked)
or train/CLASS/*.png    training images, a folder for each class
and test/CLASS/*.png    test images of the same classes"""
_ADVICE = "take the file from the original cifar-100-python.tar.gz again."


def read_cifar100(
    data_root: Path | str,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
) -> ImageData:
    """CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels, of 100 classes.

    The original files are Python pickles, which could run any code; those that hold anything but
    arrays of pixels, lists, dicts, strings and numbers are refused. All images are held in memory,
    180 MB. Class folders have the same labels, for those follow the alphabet in the pickles too.

    Args:
        data_root: the folder that holds ``cifar-100-python`` with ``train``, ``test`` and ``meta``;
            where there is none, the one that holds ``train/CLASS`` and ``test/CLASS``.
        train_per_class: training images of each class, drawn; None is all.
        test_per_class: test images of each class, drawn; None is all.
        seed: draws the images.

    Raises:
        DataError: files are absent, damaged, or hold something else.
        ValueError: a count is below 1, or higher than a class has images.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Example:
        >>> read_cifar100("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in ...
    """
    root = Path(data_root).expanduser()
    in_folders = not (root / _PICKLED).exists() and any((root / part).exists() for part in _PARTS)
    data = _folders(root) if in_folders else _pickles(root / _PICKLED)
    return few_per_class(data, train_per_class, test_per_class, seed)


def split_cifar100(
    data_root: Path | str,
    n_experiences: int = 10,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_cifar100``, ten new classes a time."""
    data = read_cifar100(data_root, train_per_class, test_per_class, seed)
    return class_incremental(data, n_experiences, **options)


def _folders(root: Path) -> ImageData:
    """Images in class folders."""
    folders = [require_folder(root / part, _LAYOUT) for part in _PARTS]
    found = same_classes(*folders)
    names = list(found[0])
    if len(names) != _CLASSES:
        raise DataError(
            f"{root} has folders of {len(names)} classes, and CIFAR-100 has {_CLASSES}: "
            f"{named(names)}. Add those that are missing, remove what is no class, or read it as "
            "image_folder."
        )
    train, test = (files_of_classes(*each) for each in zip(folders, found, strict=True))
    return ImageData.of_files(train, test, names)


def _pickles(folder: Path) -> ImageData:
    """Images as their authors pack them."""
    folder = require_folder(folder, _LAYOUT)
    train, test = (_images(folder / part) for part in _PARTS)
    # As images in files have it: none of these is converted to RGB.
    return ImageData(train, test, _class_names(folder / "meta"), facts={"converted": 0})


def _class_names(file: Path) -> list[str]:
    """The names of the classes by label."""
    names = _read(file).get("fine_label_names")
    if not isinstance(names, list) or len(names) != _CLASSES:
        raise DataError(f"{file} must have the {_CLASSES} names fine_label_names; {_ADVICE}")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _images(file: Path) -> ArrayImages:
    """The images and labels of one file, in its order."""
    content = _read(file)
    array, labels = content.get("data"), content.get("fine_labels")
    if not isinstance(array, _PlainArray) or array.pixels.shape[1:] != (3 * _SIDE * _SIDE,):
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
    return ArrayImages(images, labels)


def _read(file: Path) -> dict[str, Any]:
    """The dict in one file, its keys as text."""
    try:
        content = _load_plain(file)
        return {key.decode() if isinstance(key, bytes) else key: content[key] for key in content}
    except Exception as error:  # there is no end to the types that a damaged pickle raises
        raise DataError(f"{file} cannot be read: {error}; {_ADVICE}") from error


class _PlainArray:
    """Takes the place of a uint8 array in a pickle; ``pixels`` is that array.

    Numpy itself would also take made-up types, which could make it read past its memory, and some
    versions warn of the types in old files. Here only the shape and the bytes are used.
    """

    pixels: npt.NDArray[np.uint8]

    def __init__(self, *_: object) -> None:
        """Pickles first make an empty array, whatever it is to be, and then set its state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, content = state
        self.fill(content, kind, shape, "F" if by_column else "C")

    def fill(self, content: bytes, kind: _Kind, shape: Sequence[int], order: Any = "C") -> None:
        """Set the pixels; the content is not copied."""
        if kind.name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of type {kind.name!r} instead of 'u1'")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _load_plain(file: Path) -> Any:
    """Read a pickle of uint8 arrays, lists, dicts, strings and numbers, by Python 2 or 3.

    Pickles are programs; this runs nothing. torchvision's readers call ``pickle.load``, which does
    whatever a file asks for, and rely on the md5 of the original files instead, so that they read no
    other copy of the data, such as a part of it.

    Args:
        file: what to read. Strings that Python 2 wrote become bytes, arrays ``_PlainArray``.

    Raises:
        pickle.UnpicklingError: the pickle asks for anything else, which is named.
        Exception: the pickle is absent or damaged; there is no end to the types of this.
    """
    with file.open("rb") as stream:
        return _PlainUnpickler(stream, encoding="bytes").load()


class _Kind:
    """Takes the place of an array's type."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Pickles go on about the order of bytes, of which a uint8 has but one."""


def _filled(content: bytes, kind: _Kind, shape: Sequence[int], order: str) -> _PlainArray:
    """How pickles of protocol 5 make an array."""
    array = _PlainArray()
    array.fill(content, kind, shape, order)
    return array


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocol 2, which has none; it names no other encoding there."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes in {encoding!r} instead of 'latin1'")
    return text.encode("latin1")


# Numpy 2 has renamed its modules.
_ALLOWED = {
    ("numpy", "ndarray"): _PlainArray,
    ("numpy.core.multiarray", "_reconstruct"): _PlainArray,
    ("numpy._core.multiarray", "_reconstruct"): _PlainArray,
    ("numpy.core.numeric", "_frombuffer"): _filled,
    ("numpy._core.numeric", "_frombuffer"): _filled,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which plain data never does"
            )
        return _ALLOWED[module, name]
