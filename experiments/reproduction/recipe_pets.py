"""PETs as recipes write them: tables of a kind and its fields, as plain values of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from runs.methods import KINDS, Values, made, values_of


def pets_of(given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[Values, ...]:
    """The PETs of a table, or of a list of them, with all of their fields."""
    return tuple(pet_of(one) for one in ([given] if isinstance(given, Mapping) else given))


def pet_of(given: Mapping[str, Any]) -> Values:
    """The PET of a ``kind`` and its fields; ``blocks`` are the first, and the one after the last.

    Raises:
        ValueError: there is no such PET.
    """
    options = dict(given)
    kind = options.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(KINDS)}")
    known = [f.name for f in fields(KINDS[kind])]  # type: ignore[arg-type]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"{kind} has no {', '.join(unknown)}; it has {', '.join(known)}")
    if "blocks" in options:
        options["blocks"] = range(*options["blocks"])
    try:
        return values_of(made(KINDS, {"kind": kind, **options}))
    except TypeError as error:  # a field without a default was left out
        raise ValueError(f"{kind}: {error}") from None
