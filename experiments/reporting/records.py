"""The records that a report is made of, and why some can't be: each refusal names its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from avl_pegp.evaluation import Record, read_records
from avl_pegp.evaluation.tables import grouped
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


def require_comparable(folder: str, records: Sequence[Record]) -> None:
    """Raise ValueError where a row of a folder's table would hold a run twice, or average settings."""
    for (pet, method), runs in grouped(records, "pet", "method").items():
        (seed, times), *_ = Counter(run.seed for run in runs).most_common(1)
        if times > 1:
            raise ValueError(
                f"{folder}: holds {pet} {method} seed {seed} {times} times on {runs[0].benchmark}: "
                "runs of different settings are mixed in it; put each set of settings into a folder of "
                "its own"
            )
        then = flattened(runs[0].config.get("job", {}))
        for run in runs[1:]:
            now = flattened(run.config.get("job", {}))
            names = sorted({name for name, _ in then.items() ^ now.items()} - {"seed"})
            if names:
                values = ((n, *(job.get(n, "not set") for job in (then, now))) for n in names)
                differing = ", ".join("{} is {} and {}".format(*value) for value in values)
                raise ValueError(
                    f"{folder}: runs of {pet} {method} on {run.benchmark} differ in more than their "
                    f"seed: of seeds {runs[0].seed} and {run.seed} {differing}; put each set of "
                    "settings into a folder of its own"
                )
