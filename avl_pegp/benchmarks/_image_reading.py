"""How one image file is read, and what is said when data on disk is not in order."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, ImageOps

_NAMED = 5  # a message names so many and counts the rest


class DataError(ValueError):
    """Data on disk is missing, incomplete or damaged; the message says what to put where."""


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


def printable(path: Path | str) -> str:
    r"""A path as text that can be printed; bytes that are no UTF-8 are shown as ``\xe9``.

    Example:
        >>> print(printable(os.fsdecode(b"caf\xe9.jpg")))
        caf\xe9.jpg
    """
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> named(["a", "b"]), named("abcdefgh")
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(printable, names[:_NAMED])) + rest


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
