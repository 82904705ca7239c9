"""The report laid out: runs that can be compared make a part each, and parts fill the template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from avl_pegp.evaluation import Record
from reporting.figures import Picture, pictures_of
from reporting.records import read_folder, require_comparable
from reporting.settings import Settings, command_of, settings_of
from reporting.tables import Row, Table, rows_of, table_of

TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Part:
    """The runs of one setting on one stream, ready to be laid out.

    Attributes:
        anchor: its name within the page.
        folders: that its runs come from, as they were given.
        rows: runs that differ in their seed alone.
        commands: by row what runs it again, where a script's flags can say it.
    """

    anchor: str
    title: str
    folders: list[str]
    table: Table
    rows: list[Row]
    commands: dict[str, str]
    settings: Settings
    pictures: list[Picture]


def parts_of(folders: Iterable[Path]) -> list[Part]:
    """Read folders, each once, and put together what can be compared.

    Raises:
        ValueError: see ``read_folder`` and ``require_comparable``.
    """
    groups: dict[tuple[str, ...], dict[str, list[Record]]] = {}
    for folder in {folder.resolve(): folder for folder in folders}.values():
        for record in read_folder(folder):
            group = groups.setdefault(compared_by(record), {})
            group.setdefault(str(folder), []).append(record)
    return [part_of(i, key, by_folder) for i, (key, by_folder) in enumerate(groups.items())]


def compared_by(record: Record) -> tuple[str, ...]:
    """What runs must have in common to stand in one table; it is the table's title.

    Streams that are cut otherwise can neither be compared nor drawn together.
    """
    job = record.config.get("job", {})
    experiences = len(record.accuracy_matrix)
    return (
        record.benchmark,
        record.setting.replace("_", "-")
        + ("" if job.get("boundaries", True) else ", no boundaries"),
        f"{job.get('head', record.head)} head",  # a method may have one of its own
        f"{experiences} experience{'s' * (experiences > 1)}",
        *(f"{name}={value}" for name, value in sorted(job.get("options", {}).items())),
        record.backbone,
    )


def part_of(i: int, key: tuple[str, ...], by_folder: dict[str, list[Record]]) -> Part:
    """One part of the page."""
    for folder, records in by_folder.items():
        require_comparable(folder, records)
    rows = rows_of(by_folder)
    return Part(
        anchor=f"part-{i + 1}",
        title=" · ".join(key),
        folders=list(by_folder),
        table=table_of(rows),
        rows=rows,
        commands={row.label: c for row in rows if (c := command_of(row.records))},
        settings=settings_of(rows),
        pictures=pictures_of(rows, ", ".join(key[:3])),
    )


def page_of(parts: Sequence[Part]) -> str:
    """The page as HTML; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(parts=parts)
