"""Whether what a file holds can be a record: each field by its type, then what types can't say."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from avl_pegp.evaluation.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
)

MATRICES = ("accuracy_matrix", "task_aware_accuracy_matrix")
FOLLOWS = {  # a number, the matrix that it is of, and how
    "average_accuracy": (MATRICES[0], average_accuracy),
    "average_incremental_accuracy": (MATRICES[0], average_incremental_accuracy),
    "forgetting": (MATRICES[0], forgetting),
    "backward_transfer": (MATRICES[0], backward_transfer),
    "task_aware_average_accuracy": (MATRICES[1], average_accuracy),
    "task_aware_forgetting": (MATRICES[1], forgetting),
}
LARGEST = 2**64  # of whole numbers: more than any seed or count that a run can have
DEEPEST = 30  # of lists and objects in one another
ROUNDING = 1e-9
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
    for name in MATRICES:
        _require_matrix(getattr(record, name), name)
    _require_what_follows(record)
    _require_within(record.seed, 0, 2**32 - 1, "seed")
    _require_within(record.trainable_parameters, 0, LARGEST, "trainable_parameters")
    _require_within(record.train_seconds, 0, float(LARGEST), "train_seconds")
    if record.forward_transfer is not None:
        _require_within(record.forward_transfer, -1, 1, "forward_transfer")
    for site, (held, of) in record.ranks.items():
        if not 0 <= held <= of or of < 1:
            _refuse(
                f"ranks.{site}", [held, of], "how many directions of how many are held, as [3, 8]"
            )
    for site, drift in record.drift.items():
        if drift is not None and drift < -ROUNDING:
            _refuse(f"drift.{site}", drift, "at least 0: it is a squared change")
    for name, numbers in record.zero_shot.items():
        if numbers == []:
            _refuse(f"zero_shot.{name}", numbers, "a number, or a list of at least one")
        for i, number in enumerate(numbers if isinstance(numbers, list) else [numbers]):
            place = f"zero_shot.{name}[{i}]" if isinstance(numbers, list) else f"zero_shot.{name}"
            _require_within(number, 0, 1, place)


def _require_kind(value: Any, kind: Any, place: str) -> None:
    parts = get_args(kind)
    if get_origin(kind) is UnionType:
        kind = next((p for p in parts if isinstance(value, get_origin(p) or p)), parts[0])
        _require_kind(value, kind, place)
    elif parts:
        _require_container(value, get_origin(kind), parts, place)
    elif kind is float:
        _require_number(value, place)
    elif kind is Any:
        _require_plain(value, place)
    elif type(value) is not kind:  # to isinstance, true would be a number
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


def _require_plain(value: Any, place: str, depth: int = 0) -> None:
    """Any JSON, of numbers that a run can have."""
    if depth > DEEPEST:
        _refuse(place[:80], "nested", f"at most {DEEPEST} lists and objects in one another")
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_plain(inner, f"{place}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _require_plain(inner, f"{place}[{i}]", depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _require_number(value, place)


def _require_number(value: Any, place: str) -> None:
    if type(value) is int and abs(value) > LARGEST:
        _refuse(place, value, f"a whole number of at most {LARGEST}")
    if type(value) not in (int, float) or not isfinite(value):
        _refuse(place, value, _WORDS[float])


def _require_matrix(matrix: Sequence[Sequence[float | None]], place: str) -> None:
    size = len(matrix)
    if not matrix:
        _refuse(place, matrix, "a row for each experience, at least one")
    for i, row in enumerate(matrix):
        if len(row) != size:
            _refuse(f"{place}[{i}]", row, f"of {size} numbers, as the matrix has {size} rows")
        for j, value in enumerate(row):
            if value is not None:
                _require_within(value, 0, 1, f"{place}[{i}][{j}]")
            elif j <= i:
                _refuse(f"{place}[{i}][{j}]", None, "a number: by then the experience is learned")


def _require_what_follows(record: Any) -> None:
    """Both matrices are of one stream, and the numbers of each are its own."""
    size, other = (len(getattr(record, name)) for name in MATRICES)
    if size != other:
        _refuse(MATRICES[1], f"of {other} rows", f"of {size}, as {MATRICES[0]} is")
    for name, (matrix, number_of) in FOLLOWS.items():
        value, own = getattr(record, name), number_of(getattr(record, matrix))
        if abs(value - own) > ROUNDING:
            _refuse(name, value, f"{own!r}, as follows from {matrix}")


def _require_within(value: float | None, low: float, high: float, place: str) -> None:
    if value is None or not low <= value <= high:
        _refuse(place, value, f"from {low} to {high}")


def _refuse(place: str, value: Any, allowed: str) -> NoReturn:
    raise ValueError(f"{place} is {shortened(value)}: must be {allowed}")


def shortened(value: Any) -> str:
    """How a value is written, its beginning where that is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
