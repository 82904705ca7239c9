"""Images to be matched with captions, each experience in another domain."""

from __future__ import annotations

from collections.abc import Sequence

from avalanche.benchmarks import GenericCLScenario

from avl_pegp.benchmarks._caption_sets import (
    caption_classes,
    caption_set,
    foils_of,
    values_of,
)
from avl_pegp.benchmarks._images import normalise
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks._scene_classes import caption_of, render_parts
from avl_pegp.benchmarks.captioned import SCENE_DOMAINS
from avl_pegp.benchmarks.domains import join_domains
from avl_pegp.benchmarks.rendering import check_counts

__all__ = ["CAPTION_DOMAINS", "captioned_domains"]

#: The domains of ``captioned_domains``: all but that of pretraining.
CAPTION_DOMAINS: tuple[str, ...] = tuple(name for name in SCENE_DOMAINS if name != "plain")

_CHARACTERS = "AGRb25ΔΩ"


def captioned_domains(
    domains: Sequence[str] | None = None,
    order_seed: int | None = None,
    characters: Sequence[str] = _CHARACTERS,
    train_per_class: int = 1,
    test_per_class: int = 1,
    seed: int = 0,
) -> GenericCLScenario:
    """Captioned glyph domains (CGD): the same captions in every experience, images of other domains.

    Captions are all combinations of a character, a colour, a typeface and a position, such as "a red
    serif capital a on the left". Every data set has images of each of them; their weight, slant and
    size are random. A label is the index of the caption that is true, so that training matches
    images with captions as it would with classes. There are five domains: characters tilted by 30
    degrees, on paler paper, under noise, behind stripes, out of focus. None makes a caption untrue.

    What a model wrongly sees shows on ``foils``: captions that are true but for one thing, which is
    not in the image. It hallucinates where it prefers one of them to the true caption.

    Args:
        domains: which, in the order of learning; None is all of ``CAPTION_DOMAINS``.
        order_seed: draws the order of the domains; None keeps it.
        characters: two or more, keys of ``NAMES``; each makes 120 captions.
        train_per_class: training images of each caption in each domain, at least 1.
        test_per_class: test images of each caption in each domain, at least 1.
        seed: of images and foils; a domain has the same whatever other domains there are.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a domain,
        ``class_names`` (the captions, by label), ``template`` ("{}"), ``class_order`` (label order),
        ``domains`` (by experience), ``foils`` (by experience; labels of the false captions of each
        test image in the order of the data set, int64 ``(N, 4)``), ``foil_attributes`` (what the
        caption in each column is wrong about) and ``matching`` (a ``CaptionSet`` of the plain domain,
        which no experience has).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> benchmark = captioned_domains(("noisy", "pale"), characters="AB")
        >>> benchmark.class_names[0]
        'a red sans capital a on the left'
        >>> benchmark.foils[0].shape, benchmark.foil_attributes
        (torch.Size([240, 4]), ('character', 'colour', 'typeface', 'position'))
    """
    names = CAPTION_DOMAINS if domains is None else tuple(domains)
    _check(names, characters)
    check_counts(train_per_class, test_per_class)
    classes = caption_classes(characters)
    parts, foils = {}, []
    for i in order_of(len(names), None, order_seed):
        own_seed = seed * len(CAPTION_DOMAINS) + CAPTION_DOMAINS.index(names[i])
        train, test = render_parts(classes, train_per_class, test_per_class, own_seed, names[i])
        parts[names[i]] = train, test
        foils.append(foils_of(test.targets, characters, own_seed))
    benchmark = join_domains(
        parts, list(map(caption_of, classes)), train_transform=normalise, eval_transform=normalise
    )
    benchmark.template = "{}"
    benchmark.foils = tuple(foils)
    benchmark.foil_attributes = tuple(values_of(characters))
    benchmark.matching = caption_set(characters, seed, "plain")
    return benchmark


def _check(domains: tuple[str, ...], characters: Sequence[str]) -> None:
    if not domains or len(set(domains)) < len(domains) or not set(domains) <= set(CAPTION_DOMAINS):
        raise ValueError(
            f"domains={domains} must be one or more different ones of {', '.join(CAPTION_DOMAINS)}."
        )
    if len(characters) < 2 or len(set(characters)) < len(characters):
        raise ValueError(
            f"characters={characters!r} must be two or more different ones: a caption that is wrong "
            "about the character names another."
        )
