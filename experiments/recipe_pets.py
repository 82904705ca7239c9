"""PETs as recipes write them: tables of a kind and its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from avl_pegp import Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt

PETS: dict[str, Callable[..., Any]] = {
    "adapter": Adapter,
    "lora": LoRA,
    "prefix": Prefix,
    "prompt": Prompt,
    "linear_adapter": LinearAdapter,
    "context": Context,
}


def make_pets(given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
    """The PET that a table stands for, or a tuple of those in a list."""
    return make_pet(given) if isinstance(given, Mapping) else tuple(map(make_pet, given))


def make_pet(given: Mapping[str, Any]) -> Any:
    """The PET of a ``kind`` and its fields."""
    options = dict(given)
    kind = options.pop("kind", None)
    if kind not in PETS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(PETS)}")
    known = [f.name for f in fields(PETS[kind])]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"{kind} has no {', '.join(unknown)}; it has {', '.join(known)}")
    if "blocks" in options:
        options["blocks"] = range(*options["blocks"])
    try:
        return PETS[kind](**options)
    except TypeError as error:  # a field without a default was left out
        raise ValueError(f"{kind}: {error}") from None
