"""Pickles are programs; this reads those of images and plain values, and runs nothing else.

torchvision's readers call ``pickle.load``, which does whatever a file asks for. They rely on the md5
of the original files instead, so that they read no other copy of the data, such as a part of it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class PlainArray:
    """Takes the place of a uint8 array in a pickle; ``pixels`` is that array.

    Numpy itself would also take made-up types, which could make it read past its memory, and some
    versions warn of the types in old files. Here only the shape and the bytes are used.
    """

    pixels: npt.NDArray[np.uint8]

    def __init__(self, *_: object) -> None:
        """Pickles first make an empty array, whatever it is to be, and then set its state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, content = state
        self.fill(content, kind, shape, "F" if by_column else "C")

    def fill(self, content: bytes, kind: _Kind, shape: Sequence[int], order: Any = "C") -> None:
        """Set the pixels; the content is not copied."""
        if kind.name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of type {kind.name!r} instead of 'u1'")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def load_plain(file: Path) -> Any:
    """Read a pickle of uint8 arrays, lists, dicts, strings and numbers, by Python 2 or 3.

    Args:
        file: what to read. Strings that Python 2 wrote become bytes, arrays ``PlainArray``.

    Raises:
        pickle.UnpicklingError: the pickle asks for anything else, which is named.
        Exception: the pickle is absent or damaged; there is no end to the types of this.
    """
    with file.open("rb") as stream:
        return _PlainUnpickler(stream, encoding="bytes").load()


class _Kind:
    """Takes the place of an array's type."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Pickles go on about the order of bytes, of which a uint8 has but one."""


def _filled(content: bytes, kind: _Kind, shape: Sequence[int], order: str) -> PlainArray:
    """How pickles of protocol 5 make an array."""
    array = PlainArray()
    array.fill(content, kind, shape, order)
    return array


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocol 2, which has none; it names no other encoding there."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes in {encoding!r} instead of 'latin1'")
    return text.encode("latin1")


# Numpy 2 has renamed its modules.
_ALLOWED = {
    ("numpy", "ndarray"): PlainArray,
    ("numpy.core.multiarray", "_reconstruct"): PlainArray,
    ("numpy._core.multiarray", "_reconstruct"): PlainArray,
    ("numpy.core.numeric", "_frombuffer"): _filled,
    ("numpy._core.numeric", "_frombuffer"): _filled,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which plain data never does"
            )
        return _ALLOWED[module, name]
