"""So many images of each class, drawn by a seed, for runs that shall be short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from avl_pegp.benchmarks.data import ImageData, Selected
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.labels import Labelled, LabelledDataset


def few_per_class(
    data: ImageData,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
) -> ImageData:
    """The data set with so many images of each class, in their order; fewer are among more.

    Args:
        data: a data set without domains.
        train_per_class: training images of each class, at least 1; None is all.
        test_per_class: test images of each class, at least 1; None is all.
        seed: draws the images.

    Raises:
        ValueError: a count is below 1, or higher than a class has images.
        DataError: a class has no training or no test image.

    Example:
        >>> from avl_pegp.benchmarks import read_digits
        >>> few = few_per_class(read_digits(), train_per_class=5)
        >>> len(few.train), few.test is few.complete()[1].dataset
        (50, True)
    """
    if train_per_class is None and test_per_class is None:
        return data
    of_train, of_test = data.complete()
    train = _drawn(of_train, "train_per_class", train_per_class, data.class_names, seed)
    test = _drawn(of_test, "test_per_class", test_per_class, data.class_names, seed)
    files = [part for part in (train, test) if isinstance(part, ImageFiles)]
    return replace(data, train=train, test=test, files=files)


def _drawn(
    part: Labelled, field: str, count: int | None, names: Sequence[str], seed: int
) -> LabelledDataset:
    if count is None:
        return part.dataset
    label, fewest = min(Counter(part.targets).items(), key=lambda item: (item[1], item[0]))
    if not 1 <= count <= fewest:
        raise ValueError(
            f"{field}={count} must be from 1 to {fewest}, as many as {part.where} has of "
            f"{names[label]}; leave it out for all images of each class."
        )
    chance = torch.Generator().manual_seed(seed)
    left, rows = [count] * len(names), []
    for row in torch.randperm(len(part), generator=chance).tolist():
        if left[part.targets[row]]:
            left[part.targets[row]] -= 1
            rows.append(row)
    rows.sort()
    files = part.dataset
    if isinstance(files, ImageFiles):  # so that no others are decoded before training
        paths = [files.paths[row] for row in rows]
        return ImageFiles(files.root, paths, [part.targets[row] for row in rows], files.upright)
    return Selected(part, rows, range(len(names)))
