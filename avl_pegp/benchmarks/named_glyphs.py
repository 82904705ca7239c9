"""Named characters and other named classes, in domains that the tiny CLIP was not pretrained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from avalanche.benchmarks import GenericCLScenario, NCScenario

from avl_pegp.benchmarks.captioned import classes_by, name_of, render_classes, render_parts
from avl_pegp.benchmarks.captioned_domains import caption_set
from avl_pegp.benchmarks.class_incremental import check_split, class_incremental
from avl_pegp.benchmarks.data import EMBEDDED, ImageData, ImageDataset, Pair, Pooled, normalise
from avl_pegp.benchmarks.digits import load_parts
from avl_pegp.benchmarks.domain_incremental import domain_incremental
from avl_pegp.benchmarks.labels import order_of
from avl_pegp.benchmarks.named_characters import (
    DIGITS,
    HELD_OUT_CHARACTERS,
    NAMES,
    PRETRAINING_CHARACTERS,
)
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

#: Characters that pretraining saw and no experience trains on.
UNTOUCHED_CHARACTERS = "AHSmt3Θπ"

#: The 50 classes in label order: all others that pretraining saw.
NAMED_GLYPHS: tuple[str, ...] = tuple(
    character for character in PRETRAINING_CHARACTERS if character not in UNTOUCHED_CHARACTERS
)

#: The domains of the experiences, one after another and then from the first again.
NAMED_GLYPH_DOMAINS = ("tilted", "pale", "noisy", "striped")

_MATCHED = "AS3π"


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


def named_glyphs(
    n_experiences: int = 10,
    class_order: Sequence[int] | None = None,
    train_per_class: int = 80,
    test_per_class: int = 20,
    seed: int = 0,
    task_labels: bool = False,
    order_seed: int | None = None,
) -> NCScenario:
    """50 named Latin letters, digits and Greek letters, new ones in each experience, in another domain.

    Images are 3x32x32 scenes of random colour, typeface, weight, slant, size and place; characters are
    tilted by 30 degrees, on pale paper, under noise or behind stripes, by experience, for training
    and test alike. The tiny CLIP knows the characters, but as they are. Datasets hold images as uint8
    and give normalised floats (mean 0.5, standard deviation 0.5).

    What tuning does to the rest of what a model knows shows on ``untouched``, test data of classes
    and domains that no experience has:

    - ``untouched_characters``: eight more that pretraining saw, upright;
    - ``held_out_characters``: eight that it did not see, upright;
    - ``other_domain``: the 50, upright and out of focus;
    - ``colours``: upright scenes, to be told by colour.

    Args:
        n_experiences: how many experiences of equally many classes; a divisor of 50.
        class_order: indices into ``NAMED_GLYPHS`` in the order of learning; None keeps label order.
            The labels of the benchmark count up in this order.
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 1; other images than the training ones.
        seed: of the images; the same seed gives the same pixels.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
        order_seed: draws the class order; not together with ``class_order``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label, such as
        "capital b"), ``template`` ("a {}", what makes a caption of a name), ``class_order``,
        ``domains`` (by experience), ``untouched`` (by name, a data set of (normalised image, label)
        and its own class names) and ``matching`` (a ``CaptionSet`` of four untouched characters).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = named_glyphs(train_per_class=2, test_per_class=1)
        >>> len(benchmark.train_stream), benchmark.class_names[:2]
        (10, ('capital b', 'capital c'))
        >>> benchmark.untouched["colours"][1][:2]
        ('red character', 'green character')
    """
    check_split(len(NAMED_GLYPHS), n_experiences)
    order = order_of(len(NAMED_GLYPHS), class_order, order_seed)
    classes = classes_by(character=NAMED_GLYPHS)
    domains = tuple(NAMED_GLYPH_DOMAINS[i % len(NAMED_GLYPH_DOMAINS)] for i in range(n_experiences))
    parts = []
    for i, task in enumerate(torch.tensor(order).chunk(n_experiences)):
        own, own_seed = [classes[label] for label in task], seed * n_experiences + i
        pair = render_parts(own, train_per_class, test_per_class, own_seed, domains[i])
        parts.append([part.relabelled(task) for part in pair])
    train, test = (Pooled(side) for side in zip(*parts, strict=True))
    data = ImageData(train, test, tuple(map(name_of, classes)), **EMBEDDED)
    benchmark = class_incremental(data, n_experiences, class_order=order, task_labels=task_labels)
    benchmark.domains = domains
    benchmark.template = "a {}"
    benchmark.untouched = _untouched(test_per_class, seed)
    benchmark.matching = caption_set(_MATCHED, seed)
    return benchmark


def _untouched(per_class: int, seed: int) -> dict[str, tuple[ImageDataset, tuple[str, ...]]]:
    """Test data that no experience has, with the names of its classes."""
    kinds = {
        "untouched_characters": (classes_by(character=UNTOUCHED_CHARACTERS), "plain"),
        "held_out_characters": (classes_by(character=HELD_OUT_CHARACTERS), "plain"),
        "other_domain": (classes_by(character=NAMED_GLYPHS), "blurred"),
        "colours": (classes_by(colour=COLOURS), "plain"),
    }
    untouched = {}
    for kind, (classes, domain) in kinds.items():
        data = render_classes(classes, per_class, seed, domain)
        data.images = normalise(data.images)
        untouched[kind] = data, tuple(map(name_of, classes))
    return untouched


def read_named_datasets(
    train_per_class: int = 50, test_per_class: int = 20, seed: int = 0
) -> ImageData:
    """Seven data sets, as ``parts`` of one; the arguments are as of ``named_datasets``."""
    counts = train_per_class, test_per_class
    parts: dict[str, Pair] = {}
    names: list[str] = []
    for i, (dataset, own) in enumerate(_CLASS_NAMES.items()):
        if dataset == _SCANNED:
            train, test = map(_first_of_each_class, load_parts(), counts)
        else:
            classes, domain = _RENDERED[dataset]
            own_seed = seed * len(NAMED_DATASETS) + i
            train, test = render_parts(classes, *counts, own_seed, domain)
        labels = torch.arange(len(own)) + len(names)
        parts[dataset] = train.relabelled(labels), test.relabelled(labels)
        names += own
    return ImageData.of_parts(parts, names, **EMBEDDED)


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
    data = read_named_datasets(train_per_class, test_per_class, seed)
    benchmark = domain_incremental(data, order_seed=order_seed, kind="dataset")
    benchmark.template = "a {}"
    return benchmark


def _first_of_each_class(data: ImageDataset, count: int) -> ImageDataset:
    labels = torch.tensor(data.targets)
    rows = torch.cat([(labels == label).nonzero().flatten()[:count] for label in labels.unique()])
    return ImageDataset(data.images[rows], labels[rows])
