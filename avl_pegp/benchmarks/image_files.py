"""Image files on disk as data sets: found, checked and read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from avl_pegp.benchmarks._image_check import check_files
from avl_pegp.benchmarks._image_reading import DataError, named, read_rgb

__all__ = ["DataError", "ImageFiles", "check_images", "class_folders", "require_folder"]

#: What counts as an image file, in any case.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class ImageFiles(Dataset[tuple[Image.Image, int]]):
    """Labelled image files; an item is an RGB image and its label.

    Nothing but the paths is held in memory: an image is read when it is asked for. Grey, palette,
    RGBA and CMYK images are converted to RGB; transparency is dropped.

    Args:
        root: the folder that the paths start from.
        paths: of the images, relative to ``root``, with forward slashes.
        targets: the label of each.

    Raises:
        ValueError: there are not as many labels as paths.

    Example:
        >>> files = ImageFiles(Path("pets"), ["cat/1.png", "dog/1.png"], [0, 1])
        >>> len(files), files.targets
        (2, [0, 1])
    """

    def __init__(self, root: Path, paths: Sequence[str], targets: Sequence[int]) -> None:
        if len(paths) != len(targets):
            raise ValueError(
                f"targets has {len(targets)} labels for {len(paths)} paths; give each path one."
            )
        self.root = Path(root)
        self.paths = list(paths)
        self.targets = list(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image, _ = read_rgb(self.root / self.paths[index])
        return image, self.targets[index]


def class_folders(folder: Path) -> dict[str, list[str]]:
    """Find the image files of each class, where a class is a folder.

    Hidden files and ``__MACOSX`` are passed over, and so are files that are no images by their
    suffix. Images in subfolders of a class belong to it.

    Args:
        folder: holds one folder for each class.

    Returns:
        The images of each class, relative to ``folder`` with forward slashes. Both classes and
        images are sorted by name, whatever order the file system has.

    Raises:
        DataError: there is no class folder, or one has no image.

    Example:
        >>> import tempfile
        >>> pets = Path(tempfile.mkdtemp())
        >>> for name in ("dog", "cat"):
        ...     (pets / name).mkdir()
        ...     Image.new("RGB", (8, 8)).save(pets / name / "1.png")
        >>> class_folders(pets)
        {'cat': ['cat/1.png'], 'dog': ['dog/1.png']}
    """
    names = sorted(entry.name for entry in _visible(folder) if entry.is_dir())
    if not names:
        raise DataError(
            f"{folder.absolute()} holds no class folder; put the images of each class into a "
            f"folder of its name there.{_still_packed(folder)}"
        )
    found = {name: _images(folder, name) for name in names}
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(found)} class folders in {folder.absolute()} hold no image: "
            f"{named(empty)}. Put images ({', '.join(sorted(SUFFIXES))}) there or remove "
            "the folders."
        )
    return found


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
    contents = _visible(folder) if folder.is_dir() else []
    if any(not entry.name.endswith(_ARCHIVES) for entry in contents):
        return folder
    raise DataError(
        f"There is no data in {folder}. Put this there:\n{layout}"
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
        and ``converted_L``, ``converted_RGBA`` and so on, how many of these have which mode.

    Raises:
        DataError: files are absent, damaged or no images. Up to five are named, all are counted.

    Example:
        >>> check_images(ImageFiles(Path("pets"), [], []))
        {'images': 0, 'converted': 0}
    """
    return check_files(
        sorted({dataset.root / path for dataset in datasets for path in dataset.paths})
    )


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if _is_visible(entry.parts[-1:])]


def _is_visible(parts: Iterable[str]) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _images(folder: Path, name: str) -> list[str]:
    """The image files at any depth below the class folder ``name``, relative to ``folder``."""
    files = (
        file.relative_to(folder)
        for file in (folder / name).rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    return sorted(file.as_posix() for file in files if _is_visible(file.parts))


def _still_packed(*folders: Path) -> str:
    """A sentence that names the archives in these folders, or nothing where there are none."""
    archives = sorted(
        str(entry.absolute())
        for folder in folders
        if folder.is_dir()
        for entry in _visible(folder)
        if entry.name.endswith(_ARCHIVES)
    )
    return f"\nUnpack first, if this is the data: {named(archives)}." if archives else ""
