"""Images of one's own: a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avalanche.benchmarks import NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import ImageSearch, class_folders, require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData
from avl_pegp.benchmarks.folder_parts import Parts, find_parts, refuse_parts
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.lists import DataError, named, printable, sha256_of

_PARTS_LAYOUT = """train/CLASS/*.jpg  training images, a folder for each class
test/CLASS/*.jpg   test images of the same classes
or CLASS/*.jpg     all images, and test_fraction to hold some out"""
_WHOLE_LAYOUT = "CLASS/*.jpg  images, a folder for each class"
_PART_LAYOUT = f"{_WHOLE_LAYOUT}\nGive test_fraction if the class folders are one level up instead."


def read_image_folder(
    data_root: Path | str, test_fraction: float | None = None, split_seed: int = 0
) -> ImageData:
    """Any images that lie in a folder for each class; labels are in the order of the sorted names.

    Training and test images are told apart by folders, ``train/CLASS/*`` and ``test/CLASS/*``, or
    lie together, ``CLASS/*``, and some of each class are held out. Which ones depends on
    ``split_seed`` and on their paths alone: an image that is added moves few of the others.

    The folders of the two parts may be called otherwise, such as ``Training`` and ``testing``; where
    there is none to test on, ``val``, ``valid``, ``validation`` or ``dev`` is. Folders of such names
    are never taken for classes where there are images to train on beside them, or only folders in
    them; nor are folders that all hold the same folders, unless they are more than those.
    ``class_folders`` says which files are read. Images are turned upright as their EXIF data says.

    Args:
        data_root: the folder with ``train`` and ``test``, or with the class folders.
        test_fraction: the share of each class to hold out, above 0 and below 1, but at least one
            image, and at least one is left to train on; None for images that are told apart by
            folders.
        split_seed: draws the images that are held out.

    Returns:
        The data set. Its facts have ``parts`` if the folders are not just ``train`` and ``test``:
        which ones were taken, and which were not read.

    Raises:
        DataError: there are no such folders; a class is in only one of ``train`` and ``test``, or
            has too few images; folders are no classes but parts, domains, or a level too high; image
            files are refused as ``class_folders`` says.
        ValueError: ``test_fraction`` is out of range.
    """
    if test_fraction is None:
        return _two_folders(Path(data_root))
    return _held_out(Path(data_root), test_fraction, split_seed)


def image_folder(
    data_root: Path | str,
    n_experiences: int,
    test_fraction: float | None = None,
    split_seed: int = 0,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_image_folder``.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> pets = Path(tempfile.mkdtemp())
        >>> for name in ("dog", "cat"):
        ...     (pets / name).mkdir()
        ...     for i in range(4):
        ...         Image.new("RGB", (8, 8)).save(pets / name / f"{i}.png")
        >>> benchmark = image_folder(pets, n_experiences=2, test_fraction=0.25)
        >>> benchmark.class_names, benchmark.data["train_images"], benchmark.data["test_images"]
        (('cat', 'dog'), 6, 2)
    """
    data = read_image_folder(data_root, test_fraction, split_seed)
    return class_incremental(data, n_experiences, **options)


def files_of_classes(
    folder: Path, classes: dict[str, list[str]], upright: bool = False
) -> ImageFiles:
    """Label the files of each class by the position of the class.

    Args:
        folder: that the paths start from.
        classes: the paths of each class, as ``class_folders`` gives them.
        upright: whether images are turned as their EXIF data says; those of published data are not.

    Example:
        >>> files_of_classes(Path("pets"), {"cat": ["cat/1.png"], "dog": ["dog/1.png"]}).targets
        [0, 1]
    """
    pairs = [(path, label) for label, paths in enumerate(classes.values()) for path in paths]
    return ImageFiles.of_pairs(folder, pairs, upright)


def same_classes(train: Path, test: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The class folders in two folders, which must be the same ones.

    Raises:
        DataError: a class is in only one of the two, or they are the same folder.
    """
    found = class_folders(train), class_folders(test)
    only = [
        f"only in {printable(folder)}: {named(sorted(set(here) - set(there)))}"
        for folder, here, there in ((train, *found), (test, *found[::-1]))
        if set(here) - set(there)
    ]
    if only:
        raise DataError(
            f"{printable(train)} has {len(found[0])} classes and {printable(test)} has "
            f"{len(found[1])}, but they must be the same ones; {'; '.join(only)}. Add images or "
            "remove the folders."
        )
    folders = [
        [root / paths[0].split("/")[0] for paths in classes.values()]
        for root, classes in zip((train, test), found, strict=True)
    ]
    pairs = [(train, test), *zip(*folders, strict=True)]
    one = [str(here) for here, there in pairs if here.samefile(there)]
    if one:
        raise DataError(
            f"{named(one)}: to train on and to test on is the same folder, by a link. Give the test "
            "images a folder of their own."
        )
    return found


def _two_folders(root: Path) -> ImageData:
    root = require_folder(root, _PARTS_LAYOUT)
    search = ImageSearch(root)
    names = search.class_names()
    search.refuse()
    usual = Parts("train", "test", [])
    parts = find_parts(root, names) or usual
    folders = [require_folder(root / part, _PART_LAYOUT) for part in (parts.train, parts.test)]
    found = same_classes(*folders)
    for folder, classes in zip(folders, found, strict=True):
        refuse_parts(folder, classes, "the classes are one level further down. Move them up.")
    facts = {} if parts == usual else {"parts": parts._asdict()}
    train, test = (
        files_of_classes(*each, upright=True) for each in zip(folders, found, strict=True)
    )
    return ImageData.of_files(train, test, list(found[0]), facts=facts)


def _held_out(root: Path, fraction: float, seed: int) -> ImageData:
    if not 0 < fraction < 1:
        raise ValueError(f"test_fraction={fraction} must be above 0 and below 1, such as 0.2.")
    root = require_folder(root, _WHOLE_LAYOUT)
    classes = class_folders(root)
    refuse_parts(
        root,
        classes,
        f"nothing is to be held out by test_fraction={fraction}; leave it out, give one of these "
        "folders, or rename the classes of these names.",
    )
    small = [name for name, paths in classes.items() if len(paths) < 2]
    if small:
        raise DataError(
            f"{len(small)} of {len(classes)} classes in {printable(root)} have one image, none to "
            f"hold out: {named(small)}. Add images or remove the folders."
        )
    held_out = {name: _drawn(paths, fraction, seed) for name, paths in classes.items()}
    kept = {name: sorted(set(paths) - set(held_out[name])) for name, paths in classes.items()}
    train, test = (files_of_classes(root, part, upright=True) for part in (kept, held_out))
    return ImageData.of_files(train, test, list(classes))


def _drawn(paths: Sequence[str], fraction: float, seed: int) -> list[str]:
    """The share of the paths whose hashes are lowest; one at least, and not all."""
    count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
    return sorted(sorted(paths, key=lambda path: sha256_of(f"{seed} {path}"))[:count])
