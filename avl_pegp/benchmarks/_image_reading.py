"""How one image file is read, and what is said when data on disk is not in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_NAMED = 5  # a message names so many and counts the rest


class DataError(ValueError):
    """Data on disk is missing, incomplete or damaged; the message says what to put where."""


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> named(["a", "b"]), named("abcdefgh")
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def read_rgb(path: Path) -> tuple[Image.Image, str]:
    """An image in RGB, and the mode that it has in the file.

    Raises:
        OSError: the file is absent, damaged or no image.
        DataError: its pixels are deeper than 8 bits, which RGB would clip.
    """
    with Image.open(path) as image:
        mode = image.mode
        if mode[0] in "IF":
            raise DataError(f"{path} has pixels of mode {mode}; save it with 8 bits a channel.")
        if "transparency" in image.info:
            # Pillow warns when a palette with transparent colours goes straight to RGB.
            return image.convert("RGBA").convert("RGB"), mode
        return image.convert("RGB"), mode
