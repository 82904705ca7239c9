"""Caltech-UCSD Birds: two hundred species that differ little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.lists import DataError, named, read_pairs

_T = TypeVar("_T")
_CLASSES = 200
_LAYOUT = """\
CUB_200_2011/images.txt              number and file of each image
CUB_200_2011/image_class_labels.txt  number and class of each image
CUB_200_2011/train_test_split.txt    number of each image, and 1 if it is for training
CUB_200_2011/classes.txt             number and name of each class
CUB_200_2011/images/CLASS/*.jpg      the images
(CUB_200_2011.tgz unpacked)"""
_ADVICE = "Unpack CUB_200_2011.tgz again."


def read_cub200(data_root: Path | str) -> ImageData:
    """CUB-200-2011: 5,994 training and 5,794 test images of birds, of 200 species.

    Training and test images are as the data set's own lists say; bounding boxes are not used. A label
    is one less than the number in ``classes.txt``.

    Args:
        data_root: the folder that holds ``CUB_200_2011`` with its lists and ``images``.

    Raises:
        DataError: files are absent, or contradict one another.

    Source: Wah, Branson, Welinder, Perona and Belongie, The Caltech-UCSD Birds-200-2011 Dataset,
    2011.

    Example:
        >>> read_cub200("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in ...
    """
    folder = require_folder(Path(data_root) / "CUB_200_2011", _LAYOUT)
    classes = _classes(folder / "classes.txt")
    parts = _parts(folder, list(classes))
    return ImageData.of_files(*parts, list(classes.values()))


def split_cub200(
    data_root: Path | str, n_experiences: int = 5, **options: Unpack[ByClass]
) -> NCScenario:
    """``class_incremental`` of ``read_cub200``, 40 new species a time."""
    return class_incremental(read_cub200(data_root), n_experiences, **options)


def _classes(file: Path) -> dict[str, str]:
    """The names of the classes by their numbers: ``002.Laysan_Albatross`` is Laysan Albatross."""
    names = read_pairs(file, "1 001.Black_footed_Albatross")
    if len(names) != _CLASSES:
        raise DataError(f"{file} has {len(names)} classes instead of {_CLASSES}. {_ADVICE}")
    return {number: name.split(".")[-1].replace("_", " ") for number, name in names.items()}


def _parts(folder: Path, classes: Sequence[str]) -> tuple[ImageFiles, ImageFiles]:
    """Training and test images; the label of a class is the position of its number."""
    files = read_pairs(folder / "images.txt", "1 001.Black_footed_Albatross/name.jpg")
    label_of = {number: label for label, number in enumerate(classes)}
    labels = _listed(folder / "image_class_labels.txt", files, label_of)
    part_of = _listed(folder / "train_test_split.txt", files, {"0": "test", "1": "train"})

    train, test = (
        ImageFiles.of_pairs(
            folder / "images",
            [(path, labels[number]) for number, path in files.items() if part_of[number] == part],
        )
        for part in ("train", "test")
    )
    return train, test


def _listed(file: Path, images: Mapping[str, str], meaning: Mapping[str, _T]) -> dict[str, _T]:
    """What a list says of each of the images; ``meaning`` has all that may be said."""
    said = read_pairs(file, "1 1")
    single = sorted(said.keys() ^ images.keys(), key=lambda number: (len(number), number))
    if single:
        raise DataError(
            f"{file} and images.txt beside it do not list the same images; {len(single)} are in one "
            f"of them only: {named(single)}. {_ADVICE}"
        )
    odd = [f"{number} {word}" for number, word in said.items() if word not in meaning]
    if odd:
        raise DataError(f"{file} has {len(odd)} lines of unknown meaning: {named(odd)}. {_ADVICE}")
    return {number: meaning[word] for number, word in said.items()}
