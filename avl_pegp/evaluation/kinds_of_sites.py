"""Sites of a model put in order for figures: by kind, and by block."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_KINDS = 12


def shown_kinds(sites: Iterable[str], title: str) -> tuple[dict[str, dict[int, str]], str]:
    """The kinds of sites that there is room for, and a title that says where some are left out.

    Of a site's path the first number is the block, the rest the kind.

    Returns:
        By kind, block and site, blocks in their order; and the title.

    Raises:
        ValueError: no site.

    Example:
        >>> shown_kinds(["blocks.1.attn.qkv.A", "blocks.0.attn.qkv.A"], "ranks")
        ({'attn.qkv.A': {0: 'blocks.0.attn.qkv.A', 1: 'blocks.1.attn.qkv.A'}}, 'ranks')
    """
    kinds = {kind: dict(sorted(blocks.items())) for kind, blocks in _kinds(sites).items()}
    if len(kinds) <= _MOST_KINDS:
        return kinds, title
    return dict(list(kinds.items())[:_MOST_KINDS]), f"{title} ({_MOST_KINDS} of {len(kinds)} kinds)"


def _kinds(sites: Iterable[str]) -> dict[str, dict[int, str]]:
    """Sites by kind and block; what all kinds begin with is left out of their names."""
    kinds: dict[str, dict[int, str]] = {}
    for site in dict.fromkeys(sites):
        parts = site.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if at is None:  # a kind of all that stand in no block, one after the other
            alone = kinds.setdefault("in no block", {})
            alone[len(alone)] = site
        else:
            kind = ".".join([*parts[:at], "*", *parts[at + 1 :]])
            kinds.setdefault(kind, {})[int(parts[at])] = site
    if not kinds:
        raise ValueError(
            "no site to draw: give what plugin.ranks() and the like return after training"
        )
    ends = {kind: kind.partition("*.") for kind in kinds}
    if len({start for start, _, _ in ends.values()}) == 1 and all(e for _, _, e in ends.values()):
        return {ends[kind][2]: blocks for kind, blocks in kinds.items()}
    return kinds
