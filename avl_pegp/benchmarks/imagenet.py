"""ImageNet-R and a hundred classes of ImageNet, some new ones in each experience."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks._image_reading import named
from avl_pegp.benchmarks._imagenet_r_parts import in_training_part, listed_for_training
from avl_pegp.benchmarks._text_lists import read_list
from avl_pegp.benchmarks.image_files import (
    DataError,
    ImageFiles,
    check_images,
    class_folders,
    require_folder,
)
from avl_pegp.benchmarks.image_folder import files_of_classes, same_classes
from avl_pegp.benchmarks.image_streams import ImageTransform, split_images

__all__ = ["split_imagenet100", "split_imagenet_r"]

_WORDNET_ID = re.compile(r"n\d{8}")
_IMAGENET_R_LAYOUT = """nXXXXXXXX/*.jpg  200 folders, one for each class: imagenet-r.tar, unpacked
(https://github.com/hendrycks/imagenet-r)"""
_IMAGENET_LAYOUT = "nXXXXXXXX/*.JPEG  images of ImageNet, a folder for each class"


def split_imagenet_r(
    data_root: Path | str,
    n_experiences: int = 10,
    split_file: Path | str | None = None,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """ImageNet-R, renditions of 200 ImageNet classes: 30,000 images, 20 new classes at a time.

    The data set has no training and test part. The usual protocol (DualPrompt, ECCV 2022) draws
    four fifths of the images to train on, and everyone draws others. Here the sha256 of an image's
    path below ``imagenet-r`` decides: below 80 % of the range it is a training image. So the split
    is the same on every machine and needs no file. To compare with published numbers give the split
    of their authors as ``split_file``.

    Args:
        data_root: the folder that holds ``imagenet-r/nXXXXXXXX/*.jpg``.
        n_experiences: how many experiences of equally many classes.
        split_file: a text file that tells training and test images apart, with a line
            ``train n01443537/art_0.jpg`` or ``test n01443537/art_1.jpg`` for each image.
        class_order: the labels in the order of learning; None is label order, the WordNet ids
            sorted. The labels of the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t. Class labels are the same
            either way.
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (WordNet ids by label),
        ``class_order``, and ``data``, facts for the record: ``split_file_sha256`` if there is one.

    Raises:
        DataError: the data is absent, or there are not 200 classes; the split file is absent, does
            not name just the images that there are, or leaves a class without training or test
            images; image files are damaged.
        ValueError: an argument is out of range.

    Example:
        >>> split_imagenet_r("/no/such/folder")
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in /no/such/folder/imagenet-r.
        Put this there:
        nXXXXXXXX/*.jpg  200 folders, one for each class: imagenet-r.tar, unpacked
        (https://github.com/hendrycks/imagenet-r)
    """
    folder = require_folder(Path(data_root) / "imagenet-r", _IMAGENET_R_LAYOUT)
    classes = class_folders(folder)
    _check_classes(folder, classes, 200, "unpack all of imagenet-r.tar and nothing else there.")
    paths = [path for of_class in classes.values() for path in of_class]
    facts = {}
    if split_file is None:
        in_train = {path for path in paths if in_training_part(path)}
    else:
        listed = read_list(Path(split_file).expanduser(), "train n01443537/art_0.jpg", words=2)
        in_train = listed_for_training(listed, paths)
        facts["split_file_sha256"] = listed.sha256
    train = _subset(folder, classes, in_train)
    test = _subset(folder, classes, set(paths) - in_train)
    benchmark = split_images(
        train,
        test,
        list(classes),
        n_experiences,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data.update(facts, **check_images(train, test))
    return benchmark


def split_imagenet100(
    data_root: Path | str,
    n_experiences: int = 10,
    class_list: Path | str | None = None,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """A hundred classes of ImageNet (ILSVRC 2012), 10 new ones at a time.

    Which hundred differs between papers, so the folders or ``class_list`` have to say.

    Args:
        data_root: the folder that holds ``train/nXXXXXXXX/*`` and ``val/nXXXXXXXX/*``.
        n_experiences: how many experiences of equally many classes.
        class_list: a text file of 100 WordNet ids, one a line; needed if there are more folders.
        class_order: the labels in the order of learning; None is label order, the WordNet ids
            sorted, whatever their order in ``class_list``. The labels of the benchmark count up in
            this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t. Class labels are the same
            either way.
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (WordNet ids by label),
        ``class_order``, and ``data``, facts for the record: ``class_list_sha256`` if there is one.

    Raises:
        DataError: the data is absent; there are not 100 classes, or other ones in ``train`` than in
            ``val``; ``class_list`` names others; image files are damaged.
        ValueError: an argument is out of range.

    Example:
        >>> split_imagenet100("/no/such/folder")
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in /no/such/folder/train.
        Put this there:
        nXXXXXXXX/*.JPEG  images of ImageNet, a folder for each class
    """
    folders = [
        require_folder(Path(data_root) / part, _IMAGENET_LAYOUT) for part in ("train", "val")
    ]
    train_classes, test_classes = same_classes(*folders)
    facts = {}
    if class_list is not None:
        listed = read_list(Path(class_list).expanduser(), "n01440764", words=1)
        chosen = {name for (name,) in listed.lines}
        _check_chosen(listed.path, chosen, train_classes)
        train_classes, test_classes = _only(train_classes, chosen), _only(test_classes, chosen)
        facts["class_list_sha256"] = listed.sha256
    _check_classes(folders[0], train_classes, 100, "name the ones to use in class_list.")
    train = files_of_classes(folders[0], train_classes, upright=False)
    test = files_of_classes(folders[1], test_classes, upright=False)
    benchmark = split_images(
        train,
        test,
        list(train_classes),
        n_experiences,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data.update(facts, **check_images(train, test))
    return benchmark


def _subset(folder: Path, classes: dict[str, list[str]], chosen: set[str]) -> ImageFiles:
    return files_of_classes(
        folder,
        {name: [path for path in paths if path in chosen] for name, paths in classes.items()},
        upright=False,
    )


def _only(classes: dict[str, list[str]], chosen: set[str]) -> dict[str, list[str]]:
    return {name: paths for name, paths in classes.items() if name in chosen}


def _check_classes(folder: Path, classes: Collection[str], number: int, advice: str) -> None:
    others = [name for name in classes if not _WORDNET_ID.fullmatch(name)]
    if others or len(classes) != number:
        raise DataError(
            f"{folder} has {len(classes)} class folders, {len(others)} of them with names unlike "
            f"n01440764{': ' * bool(others)}{named(others)}; {number} such classes are needed: "
            f"{advice}"
        )


def _check_chosen(path: Path, chosen: set[str], there: Collection[str]) -> None:
    absent = sorted(chosen - set(there))
    if absent or len(chosen) != 100:
        raise DataError(
            f"class_list={str(path)!r} names {len(chosen)} different classes, of which "
            f"{len(absent)} have no folder{': ' * bool(absent)}{named(absent)}; "
            "name 100 that are there."
        )
