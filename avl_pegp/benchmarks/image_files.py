"""Image files on disk as data sets: read one at a time, and all decoded once before training."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, ImageOps
from torch.utils.data import Dataset
from tqdm import tqdm

from avl_pegp.benchmarks.labels import labels_of
from avl_pegp.benchmarks.lists import DataError, named, printable

_CHUNK = 16  # files that a thread takes at a time
_DAMAGED = "damaged or no image"
# What is remembered: with other facts it is looked up elsewhere.
_FACTS = b"images, modes, turned\n"


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

    @classmethod
    def of_pairs(
        cls, root: Path, pairs: Iterable[tuple[str, int]], upright: bool = False
    ) -> ImageFiles:
        """The images of pairs of a path and a label, by default as published data sets are read."""
        pairs = list(pairs)
        return cls(root, [path for path, _ in pairs], [label for _, label in pairs], upright)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        read = read_rgb(self.root / self.paths[index], self.upright)
        return read.image, self.targets[index]


class ReadImage(NamedTuple):
    """An image, and what it was in its file.

    Attributes:
        image: in RGB.
        mode: of the pixels in the file.
        turned: whether its EXIF data says that it is to be turned or mirrored.
    """

    image: Image.Image
    mode: str
    turned: bool


def read_rgb(path: Path, upright: bool = False) -> ReadImage:
    """An image in RGB; the first one where a file has several.

    Args:
        path: of the file.
        upright: whether it is turned as its EXIF data says.

    Raises:
        OSError: the file is absent, damaged or no image.
        DataError: its pixels are deeper than 8 bits, which RGB would clip, or there are more of them
            than Pillow takes for one picture.
    """
    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        count = f"{int(found[0]):,}" if found else "too many"
        raise DataError(
            f"{printable(path)} has {count} pixels, twice what Pillow allows; make it smaller, or "
            "raise PIL.Image.MAX_IMAGE_PIXELS if it is a picture of yours"
        ) from error
    with image:
        mode, orientation = image.mode, _orientation(image)
        if mode[0] in "IF":
            raise DataError(
                f"{printable(path)} has pixels of mode {mode}; save it with 8 bits a channel"
            )
        turned = orientation in range(2, 9)
        whole = ImageOps.exif_transpose(image) if upright and turned else image
        if "transparency" in whole.info:
            # Pillow warns when a palette with transparent colours goes straight to RGB.
            whole = whole.convert("RGBA")
        return ReadImage(whole.convert("RGB"), mode, turned)


def _orientation(image: Image.Image) -> object:
    """What the EXIF data says, from 1 for upright to 8; where it cannot be read, it says nothing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # it is read by the same decoders that raise a dozen types
        return None


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
    files = sorted({dataset.root / path for dataset in datasets for path in dataset.paths})
    memory = _memory_of(files)
    remembered = _recall(memory, len(files))
    if remembered is not None:
        return remembered
    counts = _decode(files)
    _remember(memory, counts)
    return counts


def _decode(files: Sequence[Path]) -> dict[str, int]:
    with warnings.catch_warnings(), ThreadPool() as pool:
        # Pillow refuses what has far too many pixels, and warns of what has half as many.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        found = pool.imap(_look_at, files, _CHUNK)
        looks = list(
            tqdm(found, "checking images", len(files), leave=False, unit="file", disable=None)
        )
    faults = {str(file): fault for file, (*_, fault) in zip(files, looks, strict=True) if fault}
    if faults:
        _refuse(faults, len(files))
    converted = Counter(f"converted_{mode}" for mode, *_ in looks if mode != "RGB")
    turned = sum(turned for _, turned, _ in looks)
    return {
        "images": len(files),
        "converted": sum(converted.values()),
        **dict(sorted(converted.items())),
        **({"exif_turned": turned} if turned else {}),
    }


def _look_at(file: Path) -> tuple[str, bool, str]:
    """The mode of an image in its file, whether it is to be turned, and what is wrong with it."""
    try:
        _, mode, turned = read_rgb(file)
        return mode, turned, ""
    except DataError as error:
        fault = str(error).removeprefix(f"{printable(file)} ")
    except PermissionError:
        fault = "may not be read"
    except Exception:  # Pillow's decoders raise a dozen types for damaged files, SyntaxError too
        fault = _DAMAGED
    return "", False, fault


def _refuse(faults: Mapping[str, str], count: int) -> None:
    if set(faults.values()) == {_DAMAGED}:
        raise DataError(
            f"{len(faults)} of {count} image files are damaged or no images: "
            f"{named(list(faults))}. Download or unpack them again, or replace them."
        )
    raise DataError(
        f"{len(faults)} of {count} image files are not to be used as they are: "
        f"{named([f'{file} ({fault})' for file, fault in faults.items()])}. "
        "Correct, replace or remove them."
    )


def _memory_of(files: Sequence[Path]) -> Path:
    """Where the result for exactly these files, as they are now, is remembered."""
    digest, absent = hashlib.sha256(_FACTS), []
    for file in files:
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            absent.append(str(file))
        except OSError as error:
            raise DataError(
                f"The image file {printable(file)} cannot be reached ({error.strerror}). Correct "
                "its name in the list that has it, or allow it to be read."
            ) from error
        else:
            line = f"{file.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(os.fsencode(line))
    if absent:
        raise DataError(
            f"{len(absent)} of {len(files)} image files do not exist: {named(absent)}. "
            "Download or unpack the data again."
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "avl_pegp" / f"checked_images_{digest.hexdigest()}.json"


def _recall(memory: Path, count: int) -> dict[str, int] | None:
    """What is remembered of so many files; None where it is nothing, or was not written here."""
    try:
        facts = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or facts.get("images") != count or "converted" not in facts:
        return None
    are_counts = all(type(fact) is int and 0 <= fact <= count for fact in facts.values())
    return facts if are_counts else None


def _remember(memory: Path, counts: dict[str, int]) -> None:
    part = memory.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # where nothing can be written, the next check takes longer
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(counts))
        part.replace(memory)  # whole or not at all, for others may check the same files
