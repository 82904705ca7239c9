"""Result records: one a run, in ``results.json``, complete enough to be doubted and run again.

Files are checked as they are read: each field by its annotation and range, and the numbers by their
matrix.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isfinite, isnan
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from avl_pegp.evaluation import metrics
from avl_pegp.evaluation.metrics import AccuracyMatrix

MATRICES = ("accuracy_matrix", "task_aware_accuracy_matrix")
_FOLLOWS = {  # a number, the matrix that it is of, and how
    "average_accuracy": (MATRICES[0], metrics.average_accuracy),
    "average_incremental_accuracy": (MATRICES[0], metrics.average_incremental_accuracy),
    "forgetting": (MATRICES[0], metrics.forgetting),
    "backward_transfer": (MATRICES[0], metrics.backward_transfer),
    "task_aware_average_accuracy": (MATRICES[1], metrics.average_accuracy),
    "task_aware_forgetting": (MATRICES[1], metrics.forgetting),
}
_LARGEST = 2**64  # of whole numbers: more than any seed or count that a run can have
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "trainable_parameters": (0, _LARGEST),
    "train_seconds": (0, float(_LARGEST)),
    "forward_transfer": (-1, 1),
}
_DEEPEST = 30  # of lists and objects in one another, within a field
_ROUNDING = 1e-9
_WORDS = {str: "text", int: "a whole number", float: "a finite number", dict: "an object"}
_JSON: dict[Any, Any] = {dict: dict[str, Any], list: list[Any], tuple: list[Any], int: float}
_PACKAGES = ("avl-pegp", "torch", "avalanche-lib", "timm")


@dataclass(frozen=True)
class Record:
    """One run: what was run, how it went, and with which versions.

    Accuracies are shares (0..1); see ``avl_pegp.evaluation.metrics`` for the definitions.
    ``train_seconds`` counts all of training, passes that gather statistics included;
    ``forward_transfer`` is ``None`` where the setting does not evaluate ahead. ``zero_shot`` holds, by
    name, shares measured on what was never trained: one of the whole run, or a list, the first before
    training and one after each experience. It is empty where nothing was measured.
    """

    setting: str
    benchmark: str
    backbone: str
    pet: str
    method: str
    head: str
    seed: int
    accuracy_matrix: AccuracyMatrix
    average_accuracy: float
    average_incremental_accuracy: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float | None
    task_aware_accuracy_matrix: AccuracyMatrix
    task_aware_average_accuracy: float
    task_aware_forgetting: float
    trainable_parameters: int
    train_seconds: float
    ranks: dict[str, tuple[int, int]]
    drift: dict[str, float | None]
    versions: dict[str, str]
    config: dict[str, Any]
    zero_shot: dict[str, float | list[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        accuracy_matrix: AccuracyMatrix,
        task_aware_accuracy_matrix: AccuracyMatrix,
        drift: dict[str, float],
        forward_transfer: float | None = None,
        **rest: Any,
    ) -> Record:
        """A record with its summary numbers and versions filled in.

        Example:
            >>> matrix = [[0.9, None], [0.5, 0.7]]
            >>> Record.of(accuracy_matrix=matrix, task_aware_accuracy_matrix=matrix,
            ...           setting="class_incremental", benchmark="split_digits", backbone="b",
            ...           pet="lora", method="pegp", head="lda", seed=0, trainable_parameters=1,
            ...           train_seconds=0.0, ranks={}, drift={}, config={}).average_accuracy
            0.6
        """
        matrices = dict(zip(MATRICES, (accuracy_matrix, task_aware_accuracy_matrix), strict=True))
        given: dict[str, Any] = {
            **matrices,
            **{name: number_of(matrices[of]) for name, (of, number_of) in _FOLLOWS.items()},
            "forward_transfer": forward_transfer,
            "drift": {name: None if isnan(value) else value for name, value in drift.items()},
            "versions": versions(),
        }
        return cls(**given, **rest)

    def zero_shot_at_end(self, name: str) -> float | None:
        """A zero-shot number at the end of the stream, ``None`` where it was not measured.

        Example:
            >>> matrix = [[0.5]]
            >>> record = Record.of(accuracy_matrix=matrix, task_aware_accuracy_matrix=matrix,
            ...     setting="clip_incremental", benchmark="named_glyphs", backbone="b", pet="lora",
            ...     method="pegp", head="text", seed=0, trainable_parameters=1, train_seconds=0.0,
            ...     ranks={}, drift={}, config={}, zero_shot={"accuracy": [0.8, 0.7]})
            >>> record.zero_shot_at_end("accuracy")
            0.7
        """
        number = self.zero_shot.get(name)
        return number[-1] if isinstance(number, list) else number


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_records(records: list[Record], path: Path) -> None:
    """Write records as a JSON list; the file appears whole or not at all."""
    text = json.dumps([dataclasses.asdict(record) for record in records], indent=1, allow_nan=False)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_records(path: Path) -> list[Record]:
    """The records that ``write_records`` wrote.

    Raises:
        ValueError: the file is no such list, or a record lacks fields, has others, or has a value in
            one that can't be, such as an average that is not its matrix's.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once_each)
        if not isinstance(entries, list):
            raise TypeError("it is no list")
        records = [Record(**entry) for entry in entries]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} does not hold records of this version ({error}): run it again, or read it with "
            "the version that wrote it"
        ) from error
    for number, record in enumerate(records):
        try:
            _require_fields(record)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {_named(record, number)}, {error}; run it again") from error
    return records


def _named(record: Record, number: int) -> str:
    """Says which record of a file it is, by its run where that is told."""
    told = (record.pet, record.method, record.seed)
    if not all(isinstance(name, str | int | float | None) for name in told):
        return f"of record {number}"
    return "of {} {} seed {}".format(*(str(name)[:100] for name in told))


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; two values of one name would leave one of them unread."""
    (name, times), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 0)]
    if times > 1:
        raise ValueError(f"{name!r} stands twice in one object")
    return dict(pairs)


def _require_fields(record: Record) -> None:
    """Refuse a record, made of JSON, in which a value is not of its field's type, or can't be."""
    for name, kind in get_type_hints(Record).items():
        _require_kind(getattr(record, name), kind, name)
    for name in MATRICES:
        _require_matrix(getattr(record, name), name)
    size, other = (len(getattr(record, name)) for name in MATRICES)
    if size != other:
        _refuse(MATRICES[1], f"of {other} rows", f"of {size}, as {MATRICES[0]} is")
    for name, (matrix, number_of) in _FOLLOWS.items():
        value, own = getattr(record, name), number_of(getattr(record, matrix))
        if abs(value - own) > _ROUNDING:
            _refuse(name, value, f"{own!r}, as follows from {matrix}")
    for name, (low, high) in _RANGES.items():
        if getattr(record, name) is not None:
            _require_within(getattr(record, name), low, high, name)
    for site, (held, of) in record.ranks.items():
        if not 0 <= held <= of or of < 1:
            allowed = "how many directions of how many are held, as [3, 8]"
            _refuse(f"ranks.{site}", [held, of], allowed)
    for site, drift in record.drift.items():
        if drift is not None and drift < -_ROUNDING:
            _refuse(f"drift.{site}", drift, "at least 0: it is a squared change")
    for name, numbers in record.zero_shot.items():
        place = f"zero_shot.{name}"
        if numbers == []:
            _refuse(place, numbers, "a number, or a list of at least one")
        if isinstance(numbers, list):
            for i, number in enumerate(numbers):
                _require_within(number, 0, 1, f"{place}[{i}]")
        else:
            _require_within(numbers, 0, 1, place)


def _require_kind(value: Any, kind: Any, place: str, depth: int = 0) -> None:
    """Refuse a value that is not of an annotation; tuples may be lists, ``Any`` is any JSON."""
    if depth > 1 + _DEEPEST:
        _refuse(place[:80], "nested", f"at most {_DEEPEST} lists and objects in one another")
    if kind is Any:
        kind = _JSON.get(type(value), type(value))
    outer, parts = get_origin(kind) or kind, get_args(kind)
    if outer is UnionType:
        fitting = (part for part in parts if isinstance(value, get_origin(part) or part))
        _require_kind(value, next(fitting, parts[0]), place, depth)
    elif outer is float:
        if type(value) is int and abs(value) > _LARGEST:
            _refuse(place, value, f"a whole number of at most {_LARGEST}")
        if type(value) not in (int, float) or not isfinite(value):
            _refuse(place, value, _WORDS[float])
    elif type(value) not in ((list, tuple) if outer in (tuple, list, Sequence) else (outer,)):
        _refuse(place, value, _WORDS.get(outer, "a list"))  # to isinstance, true would be a number
    elif outer is dict:
        for name, inner in value.items():
            _require_kind(inner, parts[1], f"{place}.{name}", depth + 1)
    elif parts:
        kinds = parts if outer is tuple else parts * len(value)
        if len(value) != len(kinds):
            _refuse(place, value, f"a list of {len(kinds)}")
        for i, inner in enumerate(value):
            _require_kind(inner, kinds[i], f"{place}[{i}]", depth + 1)


def _require_matrix(matrix: AccuracyMatrix, place: str) -> None:
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


def _require_within(value: float, low: float, high: float, place: str) -> None:
    if not low <= value <= high:
        _refuse(place, value, f"from {low} to {high}")


def _refuse(place: str, value: Any, allowed: str) -> NoReturn:
    text = repr(value)
    text = text if len(text) <= 100 else f"{text[:100]}…"
    raise ValueError(f"{place} is {text}: must be {allowed}")
