"""From records to tables: groups of seeds, mean ± standard deviation in percent, and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from statistics import mean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from avl_pegp.evaluation.metrics import new_task_accuracy
from avl_pegp.evaluation.records import Record

Column = Callable[[Record], float | None]
"""A number of a record, ``None`` where it has none."""
COLUMNS: dict[str, Column] = {
    "accuracy": attrgetter("average_accuracy"),
    "forgetting": attrgetter("forgetting"),
    "task-aware accuracy": attrgetter("task_aware_average_accuracy"),
    "task-aware forgetting": attrgetter("task_aware_forgetting"),
}
MEASURED: dict[str, Column] = {
    "final accuracy": attrgetter("average_accuracy"),
    "average accuracy": attrgetter("average_incremental_accuracy"),
    "forgetting": attrgetter("forgetting"),
    "task-aware final accuracy": attrgetter("task_aware_average_accuracy"),
    "task-aware forgetting": attrgetter("task_aware_forgetting"),
    "task-aware accuracy when new": lambda r: new_task_accuracy(r.task_aware_accuracy_matrix),
}


def grouped(records: Sequence[Record], *fields: str) -> dict[tuple[Any, ...], list[Record]]:
    """Records that agree in these fields, by the fields' values, each group where its first stands."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(getattr(record, name) for name in fields), []).append(record)
    return groups


def numbers(records: Sequence[Record], of: Column) -> list[float]:
    """One number of each record that has it."""
    return [number for record in records if (number := of(record)) is not None]


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation in percent; the mean alone for one value, a dash for none.

    Example:
        >>> spread([0.5, 0.7])
        '60.0 ± 14.1'
    """
    if not values:
        return "–"
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"


def cells(records: Sequence[Record], columns: Mapping[str, Column]) -> list[str]:
    """The spread of each column's numbers over the records of one row."""
    return [spread(numbers(records, of)) for of in columns.values()]


def paired(records: Sequence[Record], others: Sequence[Record], field: str) -> list[float]:
    """Differences of a field, records minus others, one for each seed that both have.

    Raises:
        ValueError: no seed in common, or a seed twice on one side.
    """
    sides = [{r.seed: getattr(r, field) for r in side} for side in (records, others)]
    if len(sides[0]) < len(records) or len(sides[1]) < len(others):
        raise ValueError("a seed occurs twice: give records of one method and PET on each side")
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        raise ValueError("records and others have no seed in common: run both with the same seeds")
    return [sides[0][seed] - sides[1][seed] for seed in seeds]


def signed(
    records: Sequence[Record], others: Sequence[Record], field: str = "average_accuracy"
) -> str:
    """The spread of the paired differences of a field, with their sign."""
    gaps = paired(records, others, field)
    return spread(gaps) if mean(gaps) < 0 else f"+{spread(gaps)}"


def zero_shot_columns(records: Sequence[Record]) -> dict[str, Column]:
    """A column for each zero-shot number that any record has, as it is at the end of the stream."""
    return {
        f"zero-shot {name.replace('_', ' ')}": partial(Record.zero_shot_at_end, name=name)
        for name in dict.fromkeys(name for r in records for name in r.zero_shot)
    }


def rows_of(records: Sequence[Record], columns: Mapping[str, Column]) -> list[list[str]]:
    """A row for each benchmark, head, PET and method: the last two names, then its cells."""
    groups = grouped(records, "benchmark", "head", "pet", "method")
    return [[pet, method, *cells(group, columns)] for (_, _, pet, method), group in groups.items()]


def console_table(records: Sequence[Record]) -> Table:
    """The rows of one benchmark and head as a table for the terminal."""
    first, seeds = records[0], len({r.seed for r in records})
    title = f"{first.benchmark} · {first.head} head · {seeds} seed{'s' * (seeds > 1)} · %"
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("PET", "method", *COLUMNS):
        is_number = name in COLUMNS
        table.add_column(name, no_wrap=not is_number, justify="right" if is_number else "left")
    for row in rows_of(records, COLUMNS):
        table.add_row(*row)
    return table


def markdown_table(records: Sequence[Record]) -> str:
    """The same rows in Markdown, and beside them the zero-shot numbers, where there are any."""
    columns = COLUMNS | zero_shot_columns(records)
    return markdown([["PET", "method", *columns], *rows_of(records, columns)])


def markdown(lines: Sequence[Sequence[str]], names: int = 2) -> str:
    """A table in Markdown: its titles, then its rows; names are to the left, numbers to the right.

    Args:
        lines: of equally many cells.
        names: how many columns are names, from the left.

    Example:
        >>> print(markdown([["PET", "accuracy"], ["lora", "66.6"]], names=1))
        | PET | accuracy |
        | --- | ---: |
        | lora | 66.6 |
    """
    titles, *rows = lines
    rule = ["---"] * names + ["---:"] * (len(titles) - names)
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, rule, *rows))
