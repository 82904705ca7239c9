"""Caltech-UCSD Birds: two hundred species that differ little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks._image_reading import named
from avl_pegp.benchmarks._text_lists import read_pairs
from avl_pegp.benchmarks.image_files import DataError, ImageFiles, check_images, require_folder
from avl_pegp.benchmarks.image_streams import ImageTransform, split_images

__all__ = ["split_cub200"]

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


def split_cub200(
    data_root: Path | str,
    n_experiences: int = 5,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """CUB-200-2011: 5,994 training and 5,794 test images of birds, 40 new species a time.

    Training and test images are as the data set's own lists say; bounding boxes are not used.

    Args:
        data_root: the folder that holds ``CUB_200_2011`` with its lists and ``images``.
        n_experiences: how many experiences of equally many classes; a divisor of 200.
        class_order: labels in the order of learning, a label being one less than the number in
            ``classes.txt``; None keeps label order. The labels of the benchmark count up in this
            order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` and ``data`` (numbers of images).

    Raises:
        DataError: files are absent, damaged, or contradict one another.
        ValueError: an argument is out of range.

    Source: Wah, Branson, Welinder, Perona and Belongie, The Caltech-UCSD Birds-200-2011 Dataset,
    2011.

    Example:
        >>> split_cub200("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in ...
    """
    folder = require_folder(Path(data_root) / "CUB_200_2011", _LAYOUT)
    classes = _classes(folder / "classes.txt")
    train, test = _parts(folder, list(classes))
    benchmark = split_images(
        train,
        test,
        list(classes.values()),
        n_experiences,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data.update(check_images(train, test))
    return benchmark


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

    def part(name: str) -> ImageFiles:
        chosen = [number for number in files if part_of[number] == name]
        paths = [files[number] for number in chosen]
        of_chosen = [labels[number] for number in chosen]
        return ImageFiles(folder / "images", paths, of_chosen, upright=False)

    return part("train"), part("test")


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
