"""Tables of records: mean ± standard deviation over seeds, in percent."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from rich.box import SIMPLE_HEAD
from rich.table import Table

from avl_pegp.evaluation.records import Record

COLUMNS = {
    "average_accuracy": "accuracy",
    "forgetting": "forgetting",
    "task_aware_average_accuracy": "task-aware accuracy",
    "task_aware_forgetting": "task-aware forgetting",
}


def grouped(records: Sequence[Record]) -> dict[tuple[str, str, str, str], list[Record]]:
    """Records of the same benchmark, head, PET and method, which differ in their seeds."""
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for r in records:
        groups.setdefault((r.benchmark, r.head, r.pet, r.method), []).append(r)
    return groups


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation in percent; the mean alone for one value.

    Example:
        >>> spread([0.5, 0.7])
        '60.0 ± 14.1'
    """
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"


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


def rows_of(records: Sequence[Record]) -> list[list[str]]:
    """One row for each PET and method: names, then the numbers of ``COLUMNS``."""
    return [
        [pet, method, *(spread([getattr(r, name) for r in group]) for name in COLUMNS)]
        for (_, _, pet, method), group in grouped(records).items()
    ]


def zero_shot_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """For each zero-shot number that any record has, a title and a cell for every row of ``rows_of``.

    Of a list of numbers the last counts: at the end of the stream.
    """
    names = dict.fromkeys(name for r in records for name in r.zero_shot)
    return {
        f"zero-shot {name.replace('_', ' ')}": [
            _cell([r.zero_shot_at_end(name) for r in group]) for group in grouped(records).values()
        ]
        for name in names
    }


def _cell(numbers: Sequence[float | None]) -> str:
    """``spread`` of those that are there; a dash for none."""
    known = [number for number in numbers if number is not None]
    return spread(known) if known else "–"


def console_table(records: Sequence[Record]) -> Table:
    """The rows of one benchmark and head as a table for the terminal."""
    first, seeds = records[0], len({r.seed for r in records})
    title = f"{first.benchmark} · {first.head} head · {seeds} seed{'s' * (seeds > 1)} · %"
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("PET", "method"):
        table.add_column(name, no_wrap=True)
    for name in COLUMNS.values():
        table.add_column(name, justify="right")
    for row in rows_of(records):
        table.add_row(*row)
    return table


def markdown_table(records: Sequence[Record]) -> str:
    """The same rows in Markdown, and beside them the zero-shot numbers, where there are any."""
    extra = zero_shot_columns(records)
    rows = [[*row, *cells] for row, *cells in zip(rows_of(records), *extra.values(), strict=True)]
    return markdown([["PET", "method", *COLUMNS.values(), *extra], *rows])


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
