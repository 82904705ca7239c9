"""Image files on disk as data sets: found, checked and read one at a time."""

from __future__ import annotations

import contextlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from avl_pegp.benchmarks._image_check import check_files
from avl_pegp.benchmarks._image_reading import DataError, named, printable, read_rgb
from avl_pegp.benchmarks._image_search import (
    SUFFIXES,
    ImageSearch,
    is_visible,
    same_to_the_eye,
)
from avl_pegp.benchmarks._labels import labels_of

__all__ = ["DataError", "ImageFiles", "check_images", "class_folders", "require_folder"]

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class ImageFiles(Dataset[tuple[Image.Image, int]]):
    """Labelled image files; an item is an RGB image and its label.

    Nothing but the paths is held in memory: an image is read when it is asked for. Grey, palette,
    RGBA and CMYK images are converted to RGB; transparency is dropped. Of an animation, or another
    file of several images, it is the first.

    Args:
        root: the folder that the paths start from.
        paths: of the images, relative to ``root``, with forward slashes.
        targets: the label of each, in a list, an array or a tensor.
        upright: whether images are turned as their EXIF data says, as cameras write it. Published
            data sets are read without, as the field reads them.

    Raises:
        ValueError: there are not as many labels as paths, or one is no whole number from 0.

    Example:
        >>> files = ImageFiles(Path("pets"), ["cat/1.png", "dog/1.png"], [0, 1])
        >>> len(files), files.targets
        (2, [0, 1])
    """

    def __init__(
        self, root: Path, paths: Sequence[str], targets: Sequence[int], upright: bool = True
    ) -> None:
        if len(paths) != len(targets):
            raise ValueError(
                f"targets has {len(targets)} labels for {len(paths)} paths; give each path one."
            )
        self.root = Path(root)
        self.paths = list(paths)
        self.upright = upright
        self.targets = labels_of("targets", targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        read = read_rgb(self.root / self.paths[index], self.upright)
        return read.image, self.targets[index]


def class_folders(folder: Path) -> dict[str, list[str]]:
    """Find the image files of each class, where a class is a folder.

    Images in subfolders of a class belong to it, and links are followed. Passed over are hidden files
    and folders (``.name``), ``__MACOSX``, whatever lies beside the class folders, and files that are
    no images (``.txt``, ``.json``, ``Thumbs.db`` and so on). An image that cannot be read is not
    passed over: it is refused.

    Args:
        folder: holds one folder for each class.

    Returns:
        The images of each class, relative to ``folder`` with forward slashes. Both classes and
        images are sorted by name, whatever order the file system has. Names of classes are in
        Unicode's composed form (NFC), paths as they are.

    Raises:
        DataError: there is no class folder, or one has no image; the names of two differ in nothing
            but case, spaces or the form of their letters; a link leads nowhere, or to a folder that
            was found already; a folder cannot be read; there are images in a format that is not read
            here (``.heic``, ``.svg`` and so on), or without the suffix of one.

    Example:
        >>> import tempfile
        >>> pets = Path(tempfile.mkdtemp())
        >>> for name in ("dog", "cat"):
        ...     (pets / name).mkdir()
        ...     Image.new("RGB", (8, 8)).save(pets / name / "1.png")
        >>> class_folders(pets)
        {'cat': ['cat/1.png'], 'dog': ['dog/1.png']}
    """
    search = ImageSearch(folder)
    images = {name: search.images(name) for name in search.class_names()}
    search.refuse()
    if not images:
        raise DataError(
            f"{printable(folder.absolute())} holds no class folder; put the images of each class into "
            f"a folder of its name there.{_still_packed(folder)}"
        )
    empty = [name for name, paths in images.items() if not paths]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(images)} class folders in {printable(folder.absolute())} hold no "
            f"image: {named(empty)}. Put images ({', '.join(sorted(SUFFIXES))}) there or remove "
            "the folders."
        )
    alike = defaultdict(list)
    for name in images:
        alike[same_to_the_eye(name)].append(name)
    unclear = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if unclear:
        raise DataError(
            f"In {printable(folder.absolute())} the names of class folders differ in case, spaces or "
            f"the encoding of letters alone: {named(unclear)}. Put the images of one class into one "
            "folder, or rename."
        )
    composed = {unicodedata.normalize("NFC", name): paths for name, paths in images.items()}
    return {name: composed[name] for name in sorted(composed)}


def require_folder(folder: Path, layout: str) -> Path:
    """The folder if data lies there, as an absolute path with ``~`` resolved.

    Args:
        folder: where data is expected. One that is empty but for archives counts as absent.
        layout: what should lie there, in a few lines, for the message.

    Raises:
        DataError: there is no such folder. The message has its absolute path and ``layout``, and
            names the archives in it or beside it, for they have to be unpacked.

    Example:
        >>> require_folder(Path("/no/such/cats"), "CLASS/*.jpg")
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in /no/such/cats. Put this there:
        CLASS/*.jpg
    """
    folder = folder.expanduser().absolute()
    if any(not entry.name.endswith(_ARCHIVES) for entry in _visible(folder)):
        return folder
    raise DataError(
        f"There is no data in {printable(folder)}. Put this there:\n{layout}"
        f"{_still_packed(folder, folder.parent)}"
    )


def check_images(*datasets: ImageFiles) -> dict[str, int]:
    """Decode every file once, so that a damaged one is found before training.

    This takes minutes on large data sets, with a progress bar on the standard error stream. Files
    that were found in order are therefore remembered, below ``~/.cache/avl_pegp`` (or the
    ``avl_pegp`` folder in ``XDG_CACHE_HOME``), until the path, size or time of one changes.

    Args:
        datasets: all of whose files are checked.

    Returns:
        ``images``, how many there are; ``converted``, how many of these are not RGB in the file;
        ``converted_L``, ``converted_RGBA`` and so on, how many of these have which mode; and, if there
        are some, ``exif_turned``, how many say in their EXIF data that they are to be turned.

    Raises:
        DataError: files are absent, damaged, no images, of more than twice as many pixels as
            ``PIL.Image.MAX_IMAGE_PIXELS``, or deeper than 8 bits a channel. Up to five are named,
            all are counted.

    Example:
        >>> check_images(ImageFiles(Path("pets"), [], []))
        {'images': 0, 'converted': 0}
    """
    return check_files(
        sorted({dataset.root / path for dataset in datasets for path in dataset.paths})
    )


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if is_visible(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"The folder {printable(folder)} cannot be read ({error.strerror}); allow it, or name "
            "another one."
        ) from error


def _still_packed(*folders: Path) -> str:
    """A sentence that names the archives in these folders, or nothing where there are none."""
    archives = []
    for folder in folders:
        with contextlib.suppress(DataError):  # a folder that cannot be read gives no advice
            archives += [e.absolute() for e in _visible(folder) if e.name.endswith(_ARCHIVES)]
    packed = named(sorted(map(str, archives)))
    return f"\nUnpack first, if this is the data: {packed}." if archives else ""
