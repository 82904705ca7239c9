"""Whether what a file holds can be a record: each field by its type, then what types can't say."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

_WORDS: dict[Any, str] = {
    **{str: "text", int: "a whole number", float: "a finite number"},
    **{dict: "an object", list: "a list", tuple: "a list", Sequence: "a list"},
}


def require_fields(record: Any) -> None:
    """Refuse a record in which a value is not of its field's type, or can't be.

    Args:
        record: a dataclass instance, made of JSON; tuples may be lists.

    Raises:
        ValueError: the first such value, with its place, and what it must be.
    """
    for name, kind in get_type_hints(type(record)).items():
        _require_kind(getattr(record, name), kind, name)
    for name in ("accuracy_matrix", "task_aware_accuracy_matrix"):
        _require_matrix(getattr(record, name), name)
    for site, (held, of) in record.ranks.items():
        if not 0 <= held <= of or of < 1:
            _refuse(
                f"ranks.{site}", [held, of], "how many directions of how many are held, as [3, 8]"
            )
    for name, numbers in record.zero_shot.items():
        if numbers == []:
            _refuse(f"zero_shot.{name}", numbers, "a number, or a list of at least one")


def _require_kind(value: Any, kind: Any, place: str) -> None:
    parts = get_args(kind)
    if get_origin(kind) is UnionType:
        kind = next((p for p in parts if isinstance(value, get_origin(p) or p)), parts[0])
        _require_kind(value, kind, place)
    elif parts:
        _require_container(value, get_origin(kind), parts, place)
    elif kind is float:
        if type(value) not in (int, float) or not isfinite(value):
            _refuse(place, value, _WORDS[kind])
    elif kind is not Any and type(value) is not kind:  # to isinstance, true would be a number
        _refuse(place, value, _WORDS[kind])


def _require_container(value: Any, kind: Any, parts: tuple[Any, ...], place: str) -> None:
    outer = dict if kind is dict else (list, tuple)
    if not isinstance(value, outer):
        _refuse(place, value, _WORDS[kind])
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_kind(inner, parts[1], f"{place}.{name}")
        return
    kinds = parts if kind is tuple else parts * len(value)
    if len(value) != len(kinds):
        _refuse(place, value, f"a list of {len(kinds)}")
    for i, inner in enumerate(value):
        _require_kind(inner, kinds[i], f"{place}[{i}]")


def _require_matrix(matrix: Sequence[Sequence[float | None]], place: str) -> None:
    size = len(matrix)
    if not matrix:
        _refuse(place, matrix, "a row for each experience, at least one")
    for i, row in enumerate(matrix):
        if len(row) != size:
            _refuse(f"{place}[{i}]", row, f"of {size} numbers, as the matrix has {size} rows")
        if None in row[: i + 1]:
            j = row.index(None)
            _refuse(f"{place}[{i}][{j}]", None, "a number: by then the experience is learned")


def _refuse(place: str, value: Any, allowed: str) -> NoReturn:
    raise ValueError(f"{place} is {value!r}: must be {allowed}")
