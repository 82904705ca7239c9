"""The records that a report is made of, and why some can't be: each refusal names its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from avl_pegp.evaluation import Record, read_records
from reporting.settings import flattened


class Job(BaseModel, strict=True):
    """Of a job, what the page looks into."""

    options: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Config(BaseModel, strict=True):
    """Of a record's settings, what the page looks into; older versions told less."""

    job: Job = Job()
    machine: dict[str, Any] = {}
    lr: float = 0.0


def read_folder(folder: Path) -> list[Record]:
    """The records of a folder: of its results.json, else of all its JSON files, a run each.

    Raises:
        ValueError: it is no folder, holds no record, or one that can't be used; the file is named.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; give folders that a script's --out named")
    results = folder / "results.json"
    files = [results] if results.exists() else sorted(folder.glob("*.json"))
    records = [record for file in files for record in checked(file)]
    if not records:
        raise ValueError(
            f"{folder}: holds no records; give a folder with results.json, as the scripts leave it"
        )
    return records


def checked(file: Path) -> list[Record]:
    """The records of a file, with settings that the page can look into."""
    records = read_records(file)
    for r in records:
        try:
            Config.model_validate(r.config)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = ".".join(map(str, ("config", *wrong["loc"])))
            raise ValueError(
                f"{file}: of {r.pet} {r.method} seed {r.seed}, {name} is {wrong['input']!r}: "
                f"{wrong['msg']}; run it again"
            ) from error
    return records


def require_once(folder: str, records: Sequence[Record]) -> None:
    """Raise ValueError where a folder holds two runs that its table could not tell apart."""
    names = Counter((r.pet, r.method, r.seed) for r in records)
    (pet, method, seed), times = names.most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{folder}: holds {pet} {method} seed {seed} {times} times on {records[0].benchmark}: runs "
            "of different settings are mixed in it; put each set of settings into a folder of its own"
        )


def require_one_job(folder: str, records: Sequence[Record]) -> None:
    """Raise ValueError where runs differ in more than their seed, and a row would average them."""
    rows: dict[tuple[str, str], Record] = {}
    for record in records:
        first = rows.setdefault((record.pet, record.method), record)
        then, now = (flattened(r.config.get("job", {})) for r in (first, record))
        names = sorted({name for name, _ in then.items() ^ now.items()} - {"seed"})
        if names:
            differing = ", ".join(
                f"{name} is {then.get(name, 'not set')} and {now.get(name, 'not set')}"
                for name in names
            )
            raise ValueError(
                f"{folder}: runs of {record.pet} {record.method} on {record.benchmark} differ in more "
                f"than their seed: of seeds {first.seed} and {record.seed} {differing}; put each set of "
                "settings into a folder of its own"
            )
