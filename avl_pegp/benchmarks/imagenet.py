"""ImageNet-R and a hundred classes of ImageNet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import class_folders, require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.image_folder import files_of_classes, same_classes
from avl_pegp.benchmarks.lists import DataError, TextList, named, read_list, sha256_of

_TRAIN_SHARE = 0.8  # of ImageNet-R
_HASHES = 2**256
_WORDNET_ID = re.compile(r"n\d{8}")
_IMAGENET_R_LAYOUT = """nXXXXXXXX/*.jpg  200 folders, one for each class: imagenet-r.tar, unpacked
(https://github.com/hendrycks/imagenet-r)"""
_IMAGENET_LAYOUT = "nXXXXXXXX/*.JPEG  images of ImageNet, a folder for each class"


def read_imagenet_r(data_root: Path | str, split_file: Path | str | None = None) -> ImageData:
    """ImageNet-R, renditions of 200 ImageNet classes: 30,000 images.

    The data set has no training and test part. The usual protocol (DualPrompt, ECCV 2022) draws
    four fifths of the images to train on, and everyone draws others. Here the sha256 of an image's
    path below ``imagenet-r`` decides: below 80 % of the range it is a training image. So the split
    is the same on every machine and needs no file. To compare with published numbers give the split
    of their authors as ``split_file``.

    Args:
        data_root: the folder that holds ``imagenet-r/nXXXXXXXX/*.jpg``. Labels are in the order of
            the WordNet ids, which are the names of the classes.
        split_file: a text file that tells training and test images apart, with a line
            ``train n01443537/art_0.jpg`` or ``test n01443537/art_1.jpg`` for each image. Its sha256
            is among the facts, as ``split_file_sha256``.

    Raises:
        DataError: the data is absent, or there are not 200 classes; the split file is absent, or does
            not name just the images that there are.

    Example:
        >>> read_imagenet_r("/no/such/folder")
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in /no/such/folder/imagenet-r.
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
        in_train = _listed_for_training(listed, paths)
        facts["split_file_sha256"] = listed.sha256
    sides = (
        {name: [path for path in of_class if path in side] for name, of_class in classes.items()}
        for side in (in_train, set(paths) - in_train)
    )
    train, test = (files_of_classes(folder, side) for side in sides)
    return ImageData.of_files(train, test, list(classes), facts=facts)


def split_imagenet_r(
    data_root: Path | str,
    n_experiences: int = 10,
    split_file: Path | str | None = None,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_imagenet_r``, 20 new classes a time."""
    return class_incremental(read_imagenet_r(data_root, split_file), n_experiences, **options)


def read_imagenet100(data_root: Path | str, class_list: Path | str | None = None) -> ImageData:
    """A hundred classes of ImageNet (ILSVRC 2012).

    Which hundred differs between papers, so the folders or ``class_list`` have to say.

    Args:
        data_root: the folder that holds ``train/nXXXXXXXX/*`` and ``val/nXXXXXXXX/*``. Labels are in
            the order of the WordNet ids, which are the names of the classes.
        class_list: a text file of 100 WordNet ids, one a line, in any order; needed if there are more
            folders. Its sha256 is among the facts, as ``class_list_sha256``.

    Raises:
        DataError: the data is absent; there are not 100 classes, or other ones in ``train`` than in
            ``val``; ``class_list`` names others.

    Example:
        >>> read_imagenet100("/no/such/folder")
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in /no/such/folder/train.
        Put this there:
        nXXXXXXXX/*.JPEG  images of ImageNet, a folder for each class
    """
    folders = [
        require_folder(Path(data_root) / part, _IMAGENET_LAYOUT) for part in ("train", "val")
    ]
    found = same_classes(*folders)
    chosen, facts = set(found[0]), {}
    if class_list is not None:
        listed = read_list(Path(class_list).expanduser(), "n01440764", words=1)
        chosen = {name for (name,) in listed.lines}
        _check_chosen(listed.path, chosen, found[0])
        facts["class_list_sha256"] = listed.sha256
    kept = [{name: paths for name, paths in classes.items() if name in chosen} for classes in found]
    _check_classes(folders[0], kept[0], 100, "name the ones to use in class_list.")
    train, test = map(files_of_classes, folders, kept)
    return ImageData.of_files(train, test, list(kept[0]), facts=facts)


def split_imagenet100(
    data_root: Path | str,
    n_experiences: int = 10,
    class_list: Path | str | None = None,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_imagenet100``, 10 new classes a time."""
    return class_incremental(read_imagenet100(data_root, class_list), n_experiences, **options)


def in_training_part(path: str) -> bool:
    """Whether an image is in the four fifths to train on, by the sha256 of its path alone.

    Args:
        path: relative to ``imagenet-r``, with forward slashes.

    Example:
        >>> in_training_part("n01443537/art_0.jpg"), in_training_part("n01443537/art_1.jpg")
        (True, True)
    """
    return int(sha256_of(path), 16) < _TRAIN_SHARE * _HASHES


def _listed_for_training(listed: TextList, paths: Sequence[str]) -> set[str]:
    """The training images of a split file of lines ``train PATH`` and ``test PATH``.

    Args:
        listed: the split file.
        paths: of all images that there are.

    Raises:
        DataError: a line starts with another word; an image is named twice or not at all; one that
            is named is not there.
    """
    counts = Counter(path for _, path in listed.lines)
    present = set(paths)
    faults = {
        "start with neither train nor test": [
            " ".join(line) for line in listed.lines if line[0] not in ("train", "test")
        ],
        "are named more than once": [path for path, count in counts.items() if count > 1],
        "are named but not there": [path for path in counts if path not in present],
        "are there but not named": [path for path in paths if path not in counts],
    }
    found = [
        f"{len(cases)} {fault}: {named(sorted(cases))}" for fault, cases in faults.items() if cases
    ]
    if found:
        raise DataError(
            f"split_file={str(listed.path)!r} does not fit the images; {'; '.join(found)}. "
            "Give it one line for each image, or pass None for the split by hash."
        )
    return {path for part, path in listed.lines if part == "train"}


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
