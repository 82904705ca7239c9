"""Names of classes as a sentence has them, for the prompts of a CLIP model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from timm.data.imagenet_info import ImageNetInfo

__all__ = ["prompt_names"]

_WORDNET_ID = re.compile(r"n\d{8}")


def prompt_names(class_names: Sequence[str]) -> list[str]:
    """What to write into prompts for classes whose names were made for files.

    Underscores become spaces. A WordNet id, which names folders of ImageNet and its kin, becomes the
    first word that WordNet has for it, as in the lists of PEGP's code. Other names stay as they are.

    Args:
        class_names: of a benchmark, ``benchmark.class_names``.

    Returns:
        As many names, in the same order. Two classes can share one (WordNet has two cranes), which
        ``create_clip`` refuses.

    Raises:
        ValueError: a WordNet id that no class of ImageNet has, the large one with 21,841 classes.

    Example:
        >>> prompt_names(["aquarium_fish", "n01440764", "capital a"])
        ['aquarium fish', 'tench', 'capital a']
    """
    ids = [name for name in class_names if _WORDNET_ID.fullmatch(name)]
    words = _wordnet() if ids else {}
    unknown = [name for name in ids if name not in words]
    if unknown:
        raise ValueError(
            f"class_names has {len(unknown)} WordNet ids that no class of ImageNet has: "
            f"{', '.join(unknown[:5])}; give these classes names"
        )
    return [words.get(name) or name.replace("_", " ") for name in class_names]


@cache
def _wordnet() -> dict[str, str]:
    """The first word for each id of ImageNet's classes."""
    words: dict[str, str] = {}
    for subset in ("imagenet-22k", "imagenet-1k"):  # the larger one lacks the teddy
        info = ImageNetInfo(subset)
        words.update(zip(info.label_names(), info.label_descriptions(), strict=True))
    return {wnid: description.split(", ")[0] for wnid, description in words.items()}
