"""Images to be matched with captions, each experience in another domain."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from avalanche.benchmarks import GenericCLScenario
from torch import Tensor

from avl_pegp.benchmarks.captioned import (
    SCENE_DOMAINS,
    SceneClass,
    caption_of,
    classes_by,
    render_classes,
    render_parts,
)
from avl_pegp.benchmarks.data import EMBEDDED, ImageData, ImageDataset, normalise
from avl_pegp.benchmarks.domain_incremental import chosen_domains, domain_incremental
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

#: The domains of ``captioned_domains``: all but that of pretraining.
CAPTION_DOMAINS: tuple[str, ...] = tuple(name for name in SCENE_DOMAINS if name != "plain")

_CHARACTERS = "AGRb25ΔΩ"
_VALUES = {"colour": COLOURS, "typeface": TYPEFACES, "position": POSITIONS}


def read_captioned_domains(
    domains: Sequence[str] | None = None,
    characters: Sequence[str] = _CHARACTERS,
    train_per_class: int = 1,
    test_per_class: int = 1,
    seed: int = 0,
) -> ImageData:
    """Render images of captions in several domains; the arguments are as of ``captioned_domains``."""
    chosen = chosen_domains(domains, CAPTION_DOMAINS)
    if len(characters) < 2 or len(set(characters)) < len(characters):
        raise ValueError(
            f"characters={characters!r} must be two or more different ones: a caption that is wrong "
            "about the character names another."
        )
    classes = caption_classes(characters)
    parts = {
        name: render_parts(classes, train_per_class, test_per_class, _own_seed(seed, name), name)
        for name in chosen
    }
    return ImageData.of_parts(parts, list(map(caption_of, classes)), **EMBEDDED)


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
    data = read_captioned_domains(domains, characters, train_per_class, test_per_class, seed)
    benchmark = domain_incremental(data, order_seed=order_seed)
    benchmark.template = "{}"
    benchmark.foils = tuple(
        foils_of(data.parts[name][1].targets, characters, _own_seed(seed, name))
        for name in benchmark.domains
    )
    benchmark.foil_attributes = tuple(values_of(characters))
    benchmark.matching = caption_set(characters, seed)
    return benchmark


def _own_seed(seed: int, domain: str) -> int:
    return seed * len(CAPTION_DOMAINS) + CAPTION_DOMAINS.index(domain)


class CaptionSet(NamedTuple):
    """Images, the captions that compete for them, and foils.

    Attributes:
        dataset: of (normalised image, index of its caption).
        captions: distinct.
        foils: int64 ``(n, K)``, for each image K captions that name something which is not in it.
    """

    dataset: ImageDataset
    captions: tuple[str, ...]
    foils: Tensor


def values_of(characters: Sequence[str]) -> dict[str, Collection[str]]:
    """What captions mention, by attribute; a character makes 120 of them."""
    return {"character": characters, **_VALUES}


def caption_classes(characters: Sequence[str]) -> list[SceneClass]:
    """All combinations of a character, a colour, a typeface and a position."""
    return classes_by(**values_of(characters))


def caption_set(characters: Sequence[str], seed: int) -> CaptionSet:
    """One image of each caption of these characters, in the plain domain."""
    classes = caption_classes(characters)
    dataset = render_classes(classes, 1, seed, "plain")
    dataset.images = normalise(dataset.images)
    captions = tuple(map(caption_of, classes))
    return CaptionSet(dataset, captions, foils_of(dataset.targets, characters, seed))


def foils_of(labels: Sequence[int], characters: Sequence[str], seed: int) -> Tensor:
    """Captions that are true but for one attribute, a column for each: ``(len(labels), 4)``."""
    sizes = [len(each) for each in values_of(characters).values()]
    generator = torch.Generator().manual_seed(seed)
    true = torch.tensor(labels)
    columns = []
    stride = math.prod(sizes)  # labels number the combinations, the last attribute's value fastest
    for size in sizes:
        stride //= size
        value = true // stride % size
        other = (value + torch.randint(1, size, true.shape, generator=generator)) % size
        columns.append(true + (other - value) * stride)
    return torch.stack(columns, 1)
