"""Small data sets whose labels are of different kinds, one after another."""

from __future__ import annotations

from itertools import accumulate

import torch
from avalanche.benchmarks import GenericCLScenario

from avl_pegp.benchmarks._experiences import from_datasets
from avl_pegp.benchmarks._images import ImageDataset
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks._scene_classes import classes_by, name_of, render_parts
from avl_pegp.benchmarks.digits import load_parts
from avl_pegp.benchmarks.named_characters import DIGITS, NAMES
from avl_pegp.benchmarks.rendering import check_counts
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

__all__ = ["NAMED_DATASETS", "named_datasets"]

# Each of the rendered ones: its classes and its domain. None is as in pretraining.
_RENDERED = {
    "letters": (classes_by(character="BEGMPRXbdn"), "tilted"),
    "colours": (classes_by(colour=COLOURS), "noisy"),
    "greek": (classes_by(character="ΔΘΣΦΨΩαβζω"), "blurred"),
    "typefaces": (classes_by(typeface=TYPEFACES), "striped"),
    "positions": (classes_by(position=POSITIONS), "pale"),
    "cyrillic": (classes_by(character="БДЖЛЧШЭЮЯЂ"), "plain"),  # characters that are new
}
_SCANNED = "digits"

_CLASS_NAMES = {
    **{name: tuple(map(name_of, classes)) for name, (classes, _) in _RENDERED.items()},
    _SCANNED: tuple(NAMES[digit] for digit in DIGITS),
}

#: The data sets of ``named_datasets``.
NAMED_DATASETS: tuple[str, ...] = tuple(_CLASS_NAMES)


def named_datasets(
    order_seed: int | None = None,
    train_per_class: int = 50,
    test_per_class: int = 20,
    seed: int = 0,
) -> GenericCLScenario:
    """Seven data sets with labels of different kinds, one in each experience.

    Rendered ones: ten Latin letters (tilted by 30 degrees), eight colours (under noise), ten Greek
    letters (out of focus), three typefaces (behind stripes), five positions (on paler paper), ten
    Cyrillic letters; and scikit-learn's scanned digits. What an image has besides its label, such as
    the character where colours are told, is random. Images are 3x32x32; datasets hold them as uint8
    and give normalised floats (mean 0.5, standard deviation 0.5).

    This is the setting of MTIL (Zheng et al., ICCV 2023, https://arxiv.org/abs/2303.06628) in
    miniature: accuracy on an experience before it is learned is transfer.

    Args:
        order_seed: draws the order of the data sets; None keeps it. Labels stay.
        train_per_class: training images of each class, at least 1; of scanned digits at most those
            that there are, some 130.
        test_per_class: test images of each class, at least 1; of scanned digits at most some 40.
        seed: of the images; a data set has the same pixels in any order.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a data set,
        ``class_names`` (by label, no two alike), ``template`` ("a {}", what makes a caption of a
        name), ``class_order`` (label order) and ``datasets`` (by experience).

    Raises:
        ValueError: a count is below 1.

    Example:
        >>> benchmark = named_datasets(train_per_class=2, test_per_class=1)
        >>> benchmark.datasets
        ('letters', 'colours', 'greek', 'typefaces', 'positions', 'cyrillic', 'digits')
        >>> [benchmark.class_names[i] for i in (0, 10, 28, 31, 55)]
        ['capital b', 'red character', 'sans character', 'character on the left', 'digit nine']
    """
    check_counts(train_per_class, test_per_class)
    order = order_of(len(NAMED_DATASETS), None, order_seed)
    parts = [_parts(name, train_per_class, test_per_class, seed) for name in NAMED_DATASETS]
    names = [name for of_one in _CLASS_NAMES.values() for name in of_one]
    benchmark = from_datasets(
        [parts[i][0] for i in order], [parts[i][1] for i in order], names, list(range(len(names)))
    )
    benchmark.template = "a {}"
    benchmark.datasets = tuple(NAMED_DATASETS[i] for i in order)
    return benchmark


def _parts(
    name: str, train_per_class: int, test_per_class: int, seed: int
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test data of one data set, with its own stretch of the labels."""
    at = NAMED_DATASETS.index(name)
    first = list(accumulate(map(len, _CLASS_NAMES.values()), initial=0))[at]
    if name == _SCANNED:
        whole = zip(load_parts(), (train_per_class, test_per_class), strict=True)
        train, test = (_first_of_each_class(*part) for part in whole)
    else:
        classes, domain = _RENDERED[name]
        own_seed = seed * len(NAMED_DATASETS) + at
        train, test = render_parts(classes, train_per_class, test_per_class, own_seed, domain)
    return _renumbered(train, first), _renumbered(test, first)


def _first_of_each_class(data: ImageDataset, count: int) -> ImageDataset:
    labels = torch.tensor(data.targets)
    rows = torch.cat([(labels == label).nonzero().flatten()[:count] for label in labels.unique()])
    return ImageDataset(data.images[rows], labels[rows])


def _renumbered(data: ImageDataset, first: int) -> ImageDataset:
    return ImageDataset(data.images, torch.tensor(data.targets) + first)
