"""Letters of four scripts, rendered from fonts that are installed anyway: nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks._class_incremental import check_split, split_by_class
from avl_pegp.benchmarks._images import ImageDataset
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks.rendering import FONTS, Variation, check_counts, render_glyphs

__all__ = ["GLYPHS", "split_glyphs"]

# Chosen so that all fonts have them and none looks like a Latin letter, a digit or another of
# them: of each group of look-alikes (Greek Pi, Cyrillic Pe; Armenian Da, Ghad, ...) at most one.
_SCRIPTS = (
    "ΔΞπΣΦΨΩζλξσ",  # Greek
    "ДЖЛЦЧШЪЫЭЮЯЂ",  # Cyrillic
    "ԲԴԶԷԸԹԺԻԽԾԿՀՃՄՆՇՊՌՎՔՖխչթ",  # Armenian
    "ადეთლპრტფქყცწჭჯჱჲჴჶშჩბს",  # Georgian
)


def _interleave(scripts: Sequence[str]) -> tuple[str, ...]:
    """Merge so that every stretch of the result holds the scripts in about their proportions."""
    placed = [
        ((position + 0.5) / len(script), character)
        for script in scripts
        for position, character in enumerate(script)
    ]
    return tuple(character for _, character in sorted(placed))


#: The 70 classes in label order: Greek, Cyrillic, Armenian and Georgian letters in turn.
GLYPHS: tuple[str, ...] = _interleave(_SCRIPTS)

#: Rougher images than the tiny ViT was pretrained on: what is frozen alone does not suffice.
STREAM = Variation(rotation=25.0, scale=(0.55, 1.0), shift=0.12, noise=(0.04, 0.17))

#: The same with dark ink throughout, where it may be either in STREAM: else to invert would be to
#: change nothing.
DARK_INK = replace(STREAM, inverted=0.0)


def split_glyphs(
    n_experiences: int = 10,
    class_order: Sequence[int] | None = None,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
    task_labels: bool = False,
    order_seed: int | None = None,
) -> NCScenario:
    """70 letters of other scripts than Latin, new ones in each experience.

    Images are 3x32x32, turned, scaled, shifted and noisier than those that the tiny ViT was pretrained
    on; datasets hold them as uint8 and give normalised floats (mean 0.5, standard
    deviation 0.5) in training and evaluation alike. Rendering takes a few seconds.

    Args:
        n_experiences: how many experiences of equally many classes; a divisor of 70.
        class_order: indices into ``GLYPHS`` in the order of learning; None keeps label order. The
            labels of the benchmark count up in this order.
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 1; other images than the training ones.
        seed: of the images; the same seed gives the same pixels.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
            Class labels are the same either way, and no two experiences share one.
        order_seed: draws the class order; not together with ``class_order``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label) and
        ``class_order``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = split_glyphs(n_experiences=10, train_per_class=5, test_per_class=2)
        >>> len(benchmark.train_stream), len(benchmark.train_stream[0].dataset)
        (10, 35)
    """
    check_split(len(GLYPHS), n_experiences)
    order = order_of(len(GLYPHS), class_order, order_seed)
    train, test = render_parts(GLYPHS, train_per_class, test_per_class, seed)
    return split_by_class(train, test, GLYPHS, n_experiences, order, task_labels)


def render_parts(
    characters: Sequence[str],
    train_per_class: int,
    test_per_class: int,
    seed: int,
    fonts: Sequence[str] = FONTS,
    variation: Variation = STREAM,
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test images of characters, other ones each.

    Raises:
        ValueError: a count is below 1.
    """
    check_counts(train_per_class, test_per_class)
    # Two seeds of one: test images stay the same whatever the number of training images.
    train, test = (
        ImageDataset(*render_glyphs(characters, count, 2 * seed + part, 32, fonts, variation))
        for part, count in enumerate((train_per_class, test_per_class))
    )
    return train, test
