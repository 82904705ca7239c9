"""Characters with names, in a domain that the tiny CLIP was not pretrained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import torch
from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks._caption_sets import caption_set
from avl_pegp.benchmarks._class_incremental import check_split, split_by_class
from avl_pegp.benchmarks._images import ImageDataset, normalise
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks._scene_classes import (
    classes_by,
    name_of,
    render_classes,
    render_parts,
)
from avl_pegp.benchmarks.named_characters import HELD_OUT_CHARACTERS, PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.rendering import check_counts
from avl_pegp.benchmarks.scenes import COLOURS

__all__ = ["NAMED_GLYPHS", "UNTOUCHED_CHARACTERS", "named_glyphs"]

#: Characters that pretraining saw and no experience trains on.
UNTOUCHED_CHARACTERS = "AHSmt3Θπ"

#: The 50 classes in label order: all others that pretraining saw.
NAMED_GLYPHS: tuple[str, ...] = tuple(
    character for character in PRETRAINING_CHARACTERS if character not in UNTOUCHED_CHARACTERS
)

#: The domains of the experiences, one after another and then from the first again.
NAMED_GLYPH_DOMAINS = ("tilted", "pale", "noisy", "striped")

_MATCHED = "AS3π"


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
    check_counts(train_per_class, test_per_class)
    check_split(len(NAMED_GLYPHS), n_experiences)
    order = order_of(len(NAMED_GLYPHS), class_order, order_seed)
    classes = classes_by(character=NAMED_GLYPHS)
    domains = tuple(islice(cycle(NAMED_GLYPH_DOMAINS), n_experiences))
    parts = []
    for i, task in enumerate(torch.tensor(order).chunk(n_experiences)):
        own, own_seed = [classes[c] for c in task], seed * n_experiences + i
        pair = render_parts(own, train_per_class, test_per_class, own_seed, domains[i])
        parts.append([ImageDataset(d.images, task[torch.tensor(d.targets)]) for d in pair])
    train, test = (_joined(side) for side in zip(*parts, strict=True))
    names = tuple(map(name_of, classes))
    benchmark = split_by_class(train, test, names, n_experiences, order, task_labels)
    benchmark.domains = domains
    benchmark.template = "a {}"
    benchmark.untouched = _untouched(test_per_class, seed)
    benchmark.matching = caption_set(_MATCHED, seed, "plain")
    return benchmark


def _joined(parts: Sequence[ImageDataset]) -> ImageDataset:
    """All of them as one."""
    labels = torch.cat([torch.tensor(part.targets) for part in parts])
    return ImageDataset(torch.cat([part.images for part in parts]), labels)


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
