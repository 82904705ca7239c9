"""Names of models, checked before anything is built: unknown ones, and ones that changed meaning."""

from __future__ import annotations

import difflib

import timm

from avl_pegp.backbones.tiny_vit import TINY_VIT

__all__ = ["check_name", "todays_names"]

_ORIGINAL = (
    " Published code (L2P, DualPrompt, LAE, PGP) loaded Google's original weights, "
    "imagenet21k/ViT-B_16.npz and its like, which are .orig_in21k today."
)


def check_name(name: str) -> None:
    """Refuse a name that timm does not have, or that meant other weights in other versions of it.

    Raises:
        ValueError: an unknown architecture or tag, with the nearest known ones; or a name from
            before timm 0.9, with the names of today that it may mean.

    Example:
        >>> check_name("vit_base_patch16_224.orig_in21k")
    """
    deprecated = timm.models.get_deprecated_models()
    architecture = name.split(".")[0]
    if architecture in deprecated:
        names = todays_names(deprecated[architecture])
        raise ValueError(
            f"name={name!r} is a name of older versions of timm, not all of which meant the same "
            f"weights by it; say which ones you mean: {' or '.join(names)}."
            + _ORIGINAL
            * any(other.endswith(".orig_in21k") for other in names)
        )
    if not _is_known(name):
        names = [*timm.list_models(pretrained=True), *timm.list_models(), TINY_VIT]
        nearest = difflib.get_close_matches(name, names, n=4, cutoff=0.0)
        raise ValueError(
            f"name={name!r} is not a known model; choose {TINY_VIT} or a name of timm, nearest are "
            f"{', '.join(nearest)}. timm.list_models('vit*', pretrained=True) lists more."
        )


def todays_names(successor: str | None) -> list[str]:
    """The full names that may be meant where timm gives one successor of an old name.

    They are all recipes of the architecture on the same data: tags that differ in the first word
    alone. Where there are none, those that begin with the tag: some have grown since. Where there
    is no tag, the successor itself.

    Example:
        >>> todays_names("vit_base_patch16_224.augreg_in21k")
        ['vit_base_patch16_224.orig_in21k', 'vit_base_patch16_224.augreg_in21k']
        >>> todays_names("vit_base_patch16_224.sam")
        ['vit_base_patch16_224.sam_in1k']
    """
    architecture, _, tag = (successor or "").partition(".")
    data = tag.partition("_")[2]
    tags = {
        name: name.partition(".")[2].partition("_")
        for name in timm.models.get_arch_pretrained_cfgs(architecture)
    }
    same_data = [name for name, (_, _, other) in tags.items() if data and other == data]
    grown = [name for name, (word, _, _) in tags.items() if tag and word == tag]
    return same_data or grown or [successor or "none, it was removed"]


def _is_known(name: str) -> bool:
    if not timm.is_model(name):
        return False
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # the tag after the dot is not one of this architecture
        return False
    return True
