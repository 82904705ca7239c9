"""The same classes in every experience, each time from another domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avalanche.benchmarks import GenericCLScenario

from avl_pegp.benchmarks._experiences import from_datasets
from avl_pegp.benchmarks._images import ImageDataset, LabelledDataset, normalise
from avl_pegp.benchmarks._labels import labels_of
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.glyphs import DARK_INK, GLYPHS, render_parts
from avl_pegp.benchmarks.rendering import FONTS

__all__ = ["DOMAINS", "domain_glyphs", "join_domains"]


@dataclass(frozen=True)
class _Domain:
    """What letters of a domain are drawn in, and a name out of ``CORRUPTIONS``."""

    fonts: tuple[str, ...]
    corruption: str = "plain"


_SERIF = tuple(font for font in FONTS if "Serif" in font)
_MONO = tuple(font for font in FONTS if "Mono" in font)
_SANS = tuple(font for font in FONTS if font not in (*_SERIF, *_MONO))

# Every other domain differs from `sans` in one thing: the font or the corruption.
_DOMAINS = {
    "sans": _Domain(_SANS),
    "serif": _Domain(_SERIF),
    "mono": _Domain(_MONO),
    **{
        corruption: _Domain(_SANS, corruption)
        for corruption in ("blurred", "noisy", "inverted", "rotated", "occluded")
    },
}

#: The domains of ``domain_glyphs``.
DOMAINS: tuple[str, ...] = tuple(_DOMAINS)


def domain_glyphs(
    domains: Sequence[str] | None = None,
    order_seed: int | None = None,
    n_classes: int = 35,
    train_per_class: int = 20,
    test_per_class: int = 10,
    seed: int = 0,
) -> GenericCLScenario:
    """The same letters in every experience, each time in another font or under another corruption.

    There are three families of fonts (sans, serif and mono) and five corruptions (blurred, noisy,
    inverted, rotated by 90 degrees, partly occluded), these in sans fonts. Images are as in
    ``split_glyphs``, with dark ink on light paper but in the inverted domain. Each domain has
    renderings of its own: none is another's with a corruption added.

    Args:
        domains: which, in the order of learning; None is all of ``DOMAINS``.
        order_seed: draws the order of the domains; None keeps it.
        n_classes: the first so many of ``GLYPHS``, 1 to 70.
        train_per_class: training images of each class in each domain, at least 1.
        test_per_class: test images of each class in each domain, at least 1.
        seed: of the images; a domain has the same pixels whatever other domains there are.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a domain,
        ``class_names`` (by label), ``class_order`` (label order) and ``domains`` (by experience).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = domain_glyphs(("sans", "noisy"), n_classes=5, train_per_class=2)
        >>> [experience.classes_in_this_experience for experience in benchmark.train_stream]
        [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    """
    names = DOMAINS if domains is None else tuple(domains)
    _check(names, n_classes)
    characters = GLYPHS[:n_classes]
    parts = {
        names[i]: _render(names[i], characters, train_per_class, test_per_class, seed)
        for i in order_of(len(names), None, order_seed)
    }
    return join_domains(parts, characters, train_transform=normalise, eval_transform=normalise)


def join_domains(
    domains: Mapping[str, tuple[LabelledDataset, LabelledDataset]],
    class_names: Sequence[str],
    *,
    train_transform: Callable[[Any], Any],
    eval_transform: Callable[[Any], Any],
) -> GenericCLScenario:
    """Make each domain an experience of one benchmark.

    Args:
        domains: training and test data of each domain by its name, in the order of learning.
            Labels mean the same class everywhere, and each data set has all of them.
        class_names: by label.
        train_transform: of an image, in training.
        eval_transform: of an image, in evaluation.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a domain,
        ``class_names``, ``class_order`` (label order) and ``domains`` (by experience).

    Raises:
        ValueError: a domain lacks a class, or labels and names do not fit, as in ``split_images``.

    Example:
        >>> import torch
        >>> pair = ImageDataset(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
        >>> day_and_night = {"day": (pair, pair), "night": (pair, pair)}
        >>> names = ["cat", "dog"]
        >>> join_domains(
        ...     day_and_night, names, train_transform=normalise, eval_transform=normalise
        ... ).domains
        ('day', 'night')
    """
    for name, parts in domains.items():
        for part, dataset in zip(("training", "test"), parts, strict=True):
            _require_every_class(f"the {part} data of domain {name!r}", dataset, class_names)
    benchmark = from_datasets(
        [train for train, _ in domains.values()],
        [test for _, test in domains.values()],
        class_names,
        list(range(len(class_names))),
        train_transform,
        eval_transform,
        [f"domain {name!r}" for name in domains],
    )
    benchmark.domains = tuple(domains)
    return benchmark


def _check(domains: tuple[str, ...], n_classes: int) -> None:
    unknown = [name for name in domains if name not in _DOMAINS]
    if unknown or not domains or len(set(domains)) < len(domains):
        raise ValueError(
            f"domains={domains} must be one or more different ones of {', '.join(DOMAINS)}."
        )
    if not 1 <= n_classes <= len(GLYPHS):
        raise ValueError(f"n_classes={n_classes} must be from 1 to {len(GLYPHS)}.")


def _render(
    name: str, characters: Sequence[str], train_per_class: int, test_per_class: int, seed: int
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test images of one domain, the same whatever other domains there are."""
    domain = _DOMAINS[name]
    own_seed = seed * len(DOMAINS) + DOMAINS.index(name)
    parts = render_parts(
        characters, train_per_class, test_per_class, own_seed, domain.fonts, DARK_INK
    )
    for part, dataset in enumerate(parts):
        generator = corruption_generator(2 * own_seed + part)
        dataset.images = CORRUPTIONS[domain.corruption](dataset.images, generator)
    return parts


def _require_every_class(where: str, dataset: LabelledDataset, class_names: Sequence[str]) -> None:
    """Refuse data that lacks a class: its accuracy there would be of other classes than elsewhere."""
    present = set(labels_of(f"targets of {where}", dataset.targets))
    lacking = [name for label, name in enumerate(class_names) if label not in present]
    if lacking:
        raise ValueError(
            f"{where} has no image of class {', '.join(map(repr, lacking))}; "
            "add some, or leave the class out of all domains."
        )
