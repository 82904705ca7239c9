"""Tiny ImageNet: two hundred classes of ImageNet at 64x64 pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import class_folders, require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.image_folder import files_of_classes
from avl_pegp.benchmarks.lists import DataError, named, read_list, read_pairs

_CLASSES = 200
_LAYOUT = """\
tiny-imagenet-200/wnids.txt                  the 200 classes, one a line
tiny-imagenet-200/words.txt                  what they are called
tiny-imagenet-200/train/nX/images/*.JPEG     training images, a folder for each class
tiny-imagenet-200/val/val_annotations.txt    file and class of each test image
tiny-imagenet-200/val/images/*.JPEG          test images
(tiny-imagenet-200.zip unpacked)"""
_ADVICE = "Unpack tiny-imagenet-200.zip again."


def read_tiny_imagenet(data_root: Path | str) -> ImageData:
    """Tiny ImageNet: 500 training and 50 test images of each of 200 classes.

    The data set's validation images are the test images; its own test images have no labels. A label
    is a position in ``wnids.txt``; a class has the first of its names in ``words.txt``, with its id
    where two classes have it.

    Args:
        data_root: the folder that holds ``tiny-imagenet-200`` as it comes out of the archive.

    Raises:
        DataError: files are absent, or contradict one another.

    Source: Le and Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N, 2015.
    """
    folder = require_folder(Path(data_root) / "tiny-imagenet-200", _LAYOUT)
    wnids = _wnids(folder / "wnids.txt")
    parts = _training_images(folder / "train", wnids), _test_images(folder / "val", wnids)
    return ImageData.of_files(*parts, _names(folder / "words.txt", wnids))


def split_tiny_imagenet(
    data_root: Path | str, n_experiences: int = 10, **options: Unpack[ByClass]
) -> NCScenario:
    """``class_incremental`` of ``read_tiny_imagenet``, 20 new classes a time."""
    return class_incremental(read_tiny_imagenet(data_root), n_experiences, **options)


def _wnids(file: Path) -> list[str]:
    """The classes by label, as WordNet numbers them."""
    wnids = [line[0] for line in read_list(file, "n02124075", words=1).lines]
    if not len(wnids) == len(set(wnids)) == _CLASSES:
        raise DataError(
            f"{file} lists {len(set(wnids))} classes in {len(wnids)} lines instead of {_CLASSES} in "
            f"{_CLASSES}. {_ADVICE}"
        )
    return wnids


def _names(file: Path, wnids: Sequence[str]) -> list[str]:
    """What the classes are called: ``goldfish, Carassius auratus`` is goldfish.

    Where two would be called alike, as a crane that flies and one that lifts, the id is added.
    """
    words = read_pairs(file, "n01443537 goldfish, Carassius auratus")
    _refuse(f"{file} does not name", [wnid for wnid in wnids if wnid not in words])
    names = [words[wnid].split(",")[0] for wnid in wnids]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} {wnid}"
        for name, wnid in zip(names, wnids, strict=True)
    ]


def _training_images(folder: Path, wnids: Sequence[str]) -> ImageFiles:
    found = class_folders(require_folder(folder, _LAYOUT))
    _refuse(f"{folder} and wnids.txt do not both have", sorted(set(wnids) ^ set(found)))
    return files_of_classes(folder, {wnid: found[wnid] for wnid in wnids})


def _test_images(folder: Path, wnids: Sequence[str]) -> ImageFiles:
    """The images in ``val/images``; a list says the class of each, and then a box, left out here."""
    file = folder / "val_annotations.txt"
    lines = read_pairs(file, "val_0.JPEG n03444034 0 32 44 62")
    wnid_of = {f"images/{name}": line.split()[0] for name, line in lines.items()}
    _refuse(
        f"wnids.txt does not have all classes of {file}:", sorted({*wnid_of.values()} - {*wnids})
    )
    require_folder(folder / "images", _LAYOUT)
    found = class_folders(folder)["images"]
    _refuse(f"{file} does not say the class of", sorted(set(found) - set(wnid_of)))
    labels = [wnids.index(wnid) for wnid in wnid_of.values()]
    return ImageFiles(folder, list(wnid_of), labels, upright=False)


def _refuse(what: str, odd: Sequence[str]) -> None:
    """Refuse a part of the data that does not fit the rest."""
    if odd:
        raise DataError(f"{what} {named(odd)} ({len(odd)} in all). {_ADVICE}")
