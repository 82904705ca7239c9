"""The report's table of one part: its rows, their numbers, and what is best in a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from os.path import abspath, commonpath, relpath
from statistics import mean

from runs.methods import CONTROLS, METHODS

from avl_pegp.evaluation import Record, spread
from avl_pegp.evaluation.tables import MEASURED, numbers, signed, zero_shot_columns

REFERENCE = "pegp"
FIRST = ("zero_shot", *CONTROLS, REFERENCE)  # then all others, as they come
LESS_IS_BETTER = ("forgetting", "hallucination")  # of all that a column may be about
# Those that look at data which no learner of the stream may see: not to be beaten, bounds.
BOUNDS = {name for name, m in METHODS.items() if m.refit or m.tunes == "jointly"}


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone.

    Attributes:
        folder: where they come from; empty where all of the part come from one.
    """

    folder: str
    pet: str
    method: str
    records: list[Record]

    @property
    def name(self) -> str:
        """Tells it from the other rows of its PET."""
        return f"{self.method} ({self.folder})" if self.folder else self.method

    @property
    def label(self) -> str:
        """Tells it from all other rows of its part."""
        return self.name if self.pet == "none" else f"{self.pet} {self.name}"

    @property
    def kind(self) -> str:
        """``"control"``, ``"bound"``, or nothing in particular."""
        if self.method in ("zero_shot", *CONTROLS):
            return "control"
        return "bound" if self.method in BOUNDS else ""

    @property
    def seeds(self) -> list[int]:
        """Of its runs."""
        return [record.seed for record in self.records]


@dataclass(frozen=True)
class Cell:
    """One number; ``best`` where no row but a bound has a better one in its column."""

    text: str
    best: bool


@dataclass(frozen=True)
class Table:
    """Titles, and for each row its cells; ``one_seed`` where no row has a spread."""

    titles: list[str]
    cells: list[list[Cell]]
    one_seed: bool


def rows_of(by_folder: Mapping[str, Sequence[Record]]) -> list[Row]:
    """The rows of a part: what has no PET, then PET by PET the controls, PEGP and the others."""
    start = commonpath(map(abspath, by_folder)) if len(by_folder) > 1 else None
    found: dict[tuple[str, str, str], list[Record]] = {}
    for folder, records in by_folder.items():
        name = "" if start is None else relpath(folder, start)
        for record in sorted(records, key=lambda r: r.seed):
            found.setdefault((name, record.pet, record.method), []).append(record)
    pets = list(dict.fromkeys(pet for _, pet, _ in found))
    places = {method: i for i, method in enumerate(FIRST)}
    keys = sorted(
        found,
        key=lambda k: (k[1] != "none", pets.index(k[1]), places.get(k[2], len(places))),
    )
    return [Row(*key, records=found[key]) for key in keys]


def table_of(rows: Sequence[Row]) -> Table:
    """All numbers of all rows, in percent."""
    columns = MEASURED | zero_shot_columns([record for row in rows for record in row.records])
    found = {t: [numbers(row.records, of) for row in rows] for t, of in columns.items()}
    top = {title: best(rows, column, title) for title, column in found.items()}
    cells = [
        [Cell(spread(column[i]), i in top[title]) for title, column in found.items()]
        for i in range(len(rows))
    ]
    titles = list(columns)
    if any(row.method == REFERENCE for row in rows):
        titles.append(f"final minus {REFERENCE}'s, paired")
        for row, line in zip(rows, cells, strict=True):
            line.append(Cell(over_reference(row, rows), False))
    return Table(titles, cells, all(len(row.records) == 1 for row in rows))


def best(rows: Sequence[Row], column: Sequence[Sequence[float]], title: str) -> set[int]:
    """The rows with the best mean as it is printed; where there is one row, it is not the best."""
    sign = -1 if any(word in title for word in LESS_IS_BETTER) else 1
    means = {
        i: sign * round(100 * mean(values), 1)
        for i, values in enumerate(column)
        if values and rows[i].kind != "bound"
    }
    top = max(means.values(), default=nan)
    return {i for i, value in means.items() if value == top and len(means) > 1}


def over_reference(row: Row, rows: Sequence[Row]) -> str:
    """The paired gap to PEGP with the same PET (without one: LoRA) in the same folder, if any."""
    pet = "lora" if row.pet == "none" else row.pet
    others = [r for r in rows if (r.folder, r.pet, r.method) == (row.folder, pet, REFERENCE)]
    if row.method == REFERENCE or not others or not {*row.seeds} & {*others[0].seeds}:
        return ""
    return signed(row.records, others[0].records)
