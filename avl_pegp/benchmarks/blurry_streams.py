"""Benchmarks with blurry borders between experiences, of the embedded images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from avalanche.benchmarks import GenericCLScenario

from avl_pegp.benchmarks._experiences import from_datasets
from avl_pegp.benchmarks._images import ImageDataset
from avl_pegp.benchmarks.blurry import check_blurry, si_blurry
from avl_pegp.benchmarks.digits import DIGITS, load_parts
from avl_pegp.benchmarks.glyphs import GLYPHS, render_parts

__all__ = ["blurry_digits", "blurry_glyphs"]


def blurry_digits(
    n_experiences: int = 5,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    order_seed: int | None = None,
) -> GenericCLScenario:
    """The digits of ``split_digits`` as a Si-Blurry stream.

    Args:
        n_experiences: how many experiences, 1 to 10; their classes are unequally many.
        disjoint: share of the classes that occur in one experience alone, 0 to 1.
        blurry: share of the other classes' training samples that stray into any experience.
        order_seed: draws which experience owns which classes, and the exchange; None is 0.

    Returns:
        A benchmark as that of ``blurry_glyphs``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = blurry_digits()
        >>> [sorted(experience.classes_in_this_experience) for experience in benchmark.test_stream]
        [[0], [1, 2, 3, 4], [5, 6], [7, 8], [9]]
    """
    check_blurry("n_experiences", n_experiences, len(DIGITS), disjoint, blurry)
    return _blur(*load_parts(), DIGITS, n_experiences, disjoint, blurry, order_seed)


def blurry_glyphs(
    n_experiences: int = 5,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    order_seed: int | None = None,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
) -> GenericCLScenario:
    """The letters of ``split_glyphs`` as a Si-Blurry stream: unequal tasks, blurry borders.

    See ``si_blurry`` for how samples are shared out. It is meant to be seen once, in small pieces:
    pass the benchmark on to ``online_benchmark``. Test experience j has the test images of the
    classes that experience j owns: the disjoint ones, and the blurry ones most at home there.

    Args:
        n_experiences: how many experiences, 1 to 70; their classes are unequally many.
        disjoint: share of the classes that occur in one experience alone, 0 to 1.
        blurry: share of the other classes' training samples that stray into any experience.
        order_seed: draws which experience owns which classes, and the exchange; None is 0.
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 1; other images than the training ones.
        seed: of the images; the same seed gives the same pixels.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label) and
        ``class_order``. Labels count up in the order of the experiences that own the classes.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = blurry_glyphs(train_per_class=2, test_per_class=1)
        >>> sum(len(experience.dataset) for experience in benchmark.train_stream)
        140
    """
    check_blurry("n_experiences", n_experiences, len(GLYPHS), disjoint, blurry)
    parts = render_parts(GLYPHS, train_per_class, test_per_class, seed)
    return _blur(*parts, GLYPHS, n_experiences, disjoint, blurry, order_seed)


def _blur(
    train: ImageDataset,
    test: ImageDataset,
    class_names: Sequence[str],
    n_experiences: int,
    disjoint: float,
    blurry: float,
    order_seed: int | None,
) -> GenericCLScenario:
    generator = torch.Generator().manual_seed(order_seed or 0)
    tasks = si_blurry(train.targets, n_experiences, disjoint, blurry, generator=generator)
    order = [label for classes in tasks.classes for label in classes]
    position = torch.tensor(order).argsort()  # the new label of each old one
    train_labels, test_labels = (position[part.targets] for part in (train, test))
    owned = [torch.isin(test_labels, position[classes]) for classes in tasks.classes]
    return from_datasets(
        [ImageDataset(train.images[rows], train_labels[rows]) for rows in tasks.indices],
        [ImageDataset(test.images[rows], test_labels[rows]) for rows in owned],
        [class_names[label] for label in order],
        order,
    )
