"""Result records: one a run, in ``results.json``, complete enough to be doubted and run again."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import Any

from avl_pegp.evaluation.metrics import (
    AccuracyMatrix,
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
)
from avl_pegp.evaluation.record_check import require_fields

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
        return cls(
            accuracy_matrix=accuracy_matrix,
            average_accuracy=average_accuracy(accuracy_matrix),
            average_incremental_accuracy=average_incremental_accuracy(accuracy_matrix),
            forgetting=forgetting(accuracy_matrix),
            backward_transfer=backward_transfer(accuracy_matrix),
            forward_transfer=forward_transfer,
            task_aware_accuracy_matrix=task_aware_accuracy_matrix,
            task_aware_average_accuracy=average_accuracy(task_aware_accuracy_matrix),
            task_aware_forgetting=forgetting(task_aware_accuracy_matrix),
            drift={name: None if isnan(value) else value for name, value in drift.items()},
            versions=versions(),
            **rest,
        )

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
            require_fields(record)
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
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found
