"""Letters of four scripts, rendered from fonts that are installed anyway: nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from avalanche.benchmarks import GenericCLScenario, NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.blurry import blurry_incremental, check_blurry
from avl_pegp.benchmarks.class_incremental import ByClass, check_split, class_incremental
from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.data import EMBEDDED, ImageData, ImageDataset
from avl_pegp.benchmarks.domain_incremental import chosen_domains, domain_incremental
from avl_pegp.benchmarks.labels import order_of
from avl_pegp.benchmarks.rendering import FAMILIES, FONTS, Variation, render_both, render_glyphs

# Chosen so that all fonts have them and none looks like a Latin letter, a digit or another of
# them: of each group of look-alikes (Greek Pi, Cyrillic Pe; Armenian Da, Ghad, ...) at most one.
_SCRIPTS = (
    "ΔΞπΣΦΨΩζλξσ",  # Greek
    "ДЖЛЦЧШЪЫЭЮЯЂ",  # Cyrillic
    "ԲԴԶԷԸԹԺԻԽԾԿՀՃՄՆՇՊՌՎՔՖխչթ",  # Armenian
    "ადეთლპრტფქყცწჭჯჱჲჴჶშჩბს",  # Georgian
)

# Every stretch of them holds the scripts in about their proportions.
_PLACED = sorted(
    ((position + 0.5) / len(script), character)
    for script in _SCRIPTS
    for position, character in enumerate(script)
)

#: The 70 classes in label order: Greek, Cyrillic, Armenian and Georgian letters in turn.
GLYPHS: tuple[str, ...] = tuple(character for _, character in _PLACED)

#: Rougher images than the tiny ViT was pretrained on: what is frozen alone does not suffice.
STREAM = Variation(rotation=25.0, scale=(0.55, 1.0), shift=0.12, noise=(0.04, 0.17))

#: The same with dark ink throughout, where it may be either in STREAM: else to invert would be to
#: change nothing.
DARK_INK = replace(STREAM, inverted=0.0)

#: Experience i has the style number i, counted round.
STYLES: tuple[str, ...] = ("plain", "inverted", "blurred", "rotated", "striped")

# The fonts of each domain and a name out of CORRUPTIONS; every other one differs from `sans` in one.
_CORRUPTED = ("blurred", "noisy", "inverted", "rotated", "occluded")
_DOMAINS = {
    **{family: (fonts, "plain") for family, fonts in FAMILIES.items()},
    **{corruption: (FAMILIES["sans"], corruption) for corruption in _CORRUPTED},
}

#: The domains of ``domain_glyphs``.
DOMAINS: tuple[str, ...] = tuple(_DOMAINS)


def read_glyphs(
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
) -> ImageData:
    """Render 70 letters of other scripts than Latin, which takes a few seconds.

    Images are 3x32x32, turned, scaled, shifted and noisier than those that the tiny ViT was pretrained
    on; datasets hold them as uint8 and give normalised floats (mean 0.5, standard
    deviation 0.5) in training and evaluation alike.

    Args:
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 1; other images than the training ones.
        seed: of the images; the same seed gives the same pixels.

    Raises:
        ValueError: a count is below 1.
    """
    render = partial(_render, GLYPHS, variation=STREAM)
    parts = render_both(render, train_per_class, test_per_class, seed)
    return ImageData(*parts, GLYPHS, **EMBEDDED)


def split_glyphs(
    n_experiences: int = 10,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_glyphs``; ``class_order`` has indices into ``GLYPHS``.

    Example:
        >>> benchmark = split_glyphs(n_experiences=10, train_per_class=5, test_per_class=2)
        >>> len(benchmark.train_stream), len(benchmark.train_stream[0].dataset)
        (10, 35)
    """
    check_split(len(GLYPHS), n_experiences, options.get("classes_per_experience"))
    data = read_glyphs(train_per_class, test_per_class, seed)
    return class_incremental(data, n_experiences, **options)


def blurry_glyphs(
    n_experiences: int = 5,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    order_seed: int | None = None,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
) -> GenericCLScenario:
    """``blurry_incremental`` of ``read_glyphs``.

    Example:
        >>> benchmark = blurry_glyphs(train_per_class=2, test_per_class=1)
        >>> sum(len(experience.dataset) for experience in benchmark.train_stream)
        140
    """
    check_blurry("n_experiences", n_experiences, len(GLYPHS), disjoint, blurry)
    data = read_glyphs(train_per_class, test_per_class, seed)
    return blurry_incremental(data, n_experiences, disjoint, blurry, order_seed)


def shifted_glyphs(
    n_experiences: int = 10,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    train_per_class: int = 100,
    test_per_class: int = 30,
    seed: int = 0,
    task_labels: bool = False,
) -> NCScenario:
    """``split_glyphs`` with each experience in the next of five styles, for training and test alike.

    Classes and style change together, as when a source of data is replaced, which asks more of a
    method than new classes alone: what was learned in one style has to be kept while the input itself
    looks different. Images have dark ink on light paper, under the corruption that ``STYLES`` names:
    as they are, inverted, blurred, turned by 90 degrees, behind stripes; then from the first again.

    Returns:
        A benchmark as that of ``class_incremental``, with ``styles`` (by experience) besides.

    Example:
        >>> benchmark = shifted_glyphs(n_experiences=7, train_per_class=2, test_per_class=1)
        >>> benchmark.styles
        ('plain', 'inverted', 'blurred', 'rotated', 'striped', 'plain', 'inverted')
    """
    check_split(len(GLYPHS), n_experiences)
    order = order_of(len(GLYPHS), class_order, order_seed)
    styles = tuple(STYLES[i % len(STYLES)] for i in range(n_experiences))
    tasks = torch.tensor(order).chunk(n_experiences)

    def render(per_class: int, seed: int) -> ImageDataset:
        dataset = _render(GLYPHS, per_class, seed)
        generator = corruption_generator(seed)
        labels = torch.tensor(dataset.targets)
        for classes, style in zip(tasks, styles, strict=True):
            rows = torch.isin(labels, classes)
            dataset.images[rows] = CORRUPTIONS[style](dataset.images[rows], generator)
        return dataset

    parts = render_both(render, train_per_class, test_per_class, seed)
    data = ImageData(*parts, GLYPHS, **EMBEDDED)
    benchmark = class_incremental(data, n_experiences, class_order=order, task_labels=task_labels)
    benchmark.styles = styles
    return benchmark


def read_domain_glyphs(
    domains: Sequence[str] | None = None,
    n_classes: int = 35,
    train_per_class: int = 20,
    test_per_class: int = 10,
    seed: int = 0,
) -> ImageData:
    """Render the same letters in other fonts and under other corruptions.

    There are three families of fonts (sans, serif and mono) and five corruptions (blurred, noisy,
    inverted, rotated by 90 degrees, partly occluded), these in sans fonts. Images are as in
    ``read_glyphs``, with dark ink on light paper but in the inverted domain. Each domain has
    renderings of its own: none is another's with a corruption added.

    Args:
        domains: which, in the order of learning; None is all of ``DOMAINS``.
        n_classes: the first so many of ``GLYPHS``, 1 to 70.
        train_per_class: training images of each class in each domain, at least 1.
        test_per_class: test images of each class in each domain, at least 1.
        seed: of the images; a domain has the same pixels whatever other domains there are.

    Raises:
        ValueError: an argument is out of range.
    """
    chosen = chosen_domains(domains, DOMAINS)
    if not 1 <= n_classes <= len(GLYPHS):
        raise ValueError(f"n_classes={n_classes} must be from 1 to {len(GLYPHS)}.")
    parts = {}
    for name in chosen:
        fonts, corruption = _DOMAINS[name]
        render = partial(_render, GLYPHS[:n_classes], fonts=fonts, corruption=corruption)
        own_seed = seed * len(DOMAINS) + DOMAINS.index(name)
        parts[name] = render_both(render, train_per_class, test_per_class, own_seed)
    return ImageData.of_parts(parts, GLYPHS[:n_classes], **EMBEDDED)


def domain_glyphs(
    domains: Sequence[str] | None = None,
    order_seed: int | None = None,
    n_classes: int = 35,
    train_per_class: int = 20,
    test_per_class: int = 10,
    seed: int = 0,
) -> GenericCLScenario:
    """``domain_incremental`` of ``read_domain_glyphs``.

    Example:
        >>> benchmark = domain_glyphs(("sans", "noisy"), n_classes=5, train_per_class=2)
        >>> [experience.classes_in_this_experience for experience in benchmark.train_stream]
        [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    """
    data = read_domain_glyphs(domains, n_classes, train_per_class, test_per_class, seed)
    return domain_incremental(data, order_seed=order_seed)


def _render(
    characters: Sequence[str],
    per_class: int,
    seed: int,
    fonts: Sequence[str] = FONTS,
    variation: Variation = DARK_INK,
    corruption: str = "plain",
) -> ImageDataset:
    """So many images of each character, corrupted."""
    images, labels = render_glyphs(characters, per_class, seed, 32, fonts, variation)
    return ImageDataset(CORRUPTIONS[corruption](images, corruption_generator(seed)), labels)
