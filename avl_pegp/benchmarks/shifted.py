"""Letters whose style changes along with the classes, as when a source of data is replaced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks._class_incremental import check_split, split_by_class
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.glyphs import DARK_INK, GLYPHS, render_parts

__all__ = ["STYLES", "shifted_glyphs"]

#: Experience i has the style number i, counted round.
STYLES: tuple[str, ...] = ("plain", "inverted", "blurred", "rotated", "striped")


def shifted_glyphs(
    n_experiences: int = 10,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
    task_labels: bool = False,
) -> NCScenario:
    """The 70 letters of ``split_glyphs``, each experience in the next of five styles.

    Classes and style change together, which asks more of a method than new classes alone: what was
    learned in one style has to be kept while the input itself looks different. Images are as in
    ``split_glyphs``, with dark ink on light paper, under the corruption that ``STYLES`` names: as
    they are, inverted, blurred, turned by 90 degrees, behind stripes; then from the first again.
    Test images of an experience have its style.

    Args:
        n_experiences: how many experiences of equally many classes; a divisor of 70.
        class_order: indices into ``GLYPHS`` in the order of learning; None keeps label order. The
            labels of the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 1; other images than the training ones.
        seed: of the images; the same seed gives the same pixels.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` and ``styles`` (by experience).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = shifted_glyphs(n_experiences=7, train_per_class=2, test_per_class=1)
        >>> benchmark.styles
        ('plain', 'inverted', 'blurred', 'rotated', 'striped', 'plain', 'inverted')
    """
    check_split(len(GLYPHS), n_experiences)
    order = order_of(len(GLYPHS), class_order, order_seed)
    parts = render_parts(GLYPHS, train_per_class, test_per_class, seed, variation=DARK_INK)
    styles = tuple(STYLES[i % len(STYLES)] for i in range(n_experiences))
    tasks = torch.tensor(order).chunk(n_experiences)
    for part, dataset in enumerate(parts):
        generator = corruption_generator(2 * seed + part)
        labels = torch.tensor(dataset.targets)
        for classes, style in zip(tasks, styles, strict=True):
            rows = torch.isin(labels, classes)
            dataset.images[rows] = CORRUPTIONS[style](dataset.images[rows], generator)
    benchmark = split_by_class(*parts, GLYPHS, n_experiences, order, task_labels)
    benchmark.styles = styles
    return benchmark
