"""Which images of ImageNet-R are there to train on, for the data set does not say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from avl_pegp.benchmarks._image_reading import DataError, named
from avl_pegp.benchmarks._text_lists import TextList

_TRAIN_SHARE = 0.8
_HASHES = 2**256  # of sha256


def in_training_part(path: str) -> bool:
    """Whether an image is in the four fifths to train on, by the sha256 of its path alone.

    Args:
        path: relative to ``imagenet-r``, with forward slashes.

    Example:
        >>> in_training_part("n01443537/art_0.jpg"), in_training_part("n01443537/art_1.jpg")
        (True, True)
    """
    number = int.from_bytes(hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest(), "big")
    return number < _TRAIN_SHARE * _HASHES


def listed_for_training(listed: TextList, paths: Sequence[str]) -> set[str]:
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
