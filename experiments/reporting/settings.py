"""What runs were made with: settings that they share, those that differ, versions, and commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runs.job import Job
from runs.methods import CLIP, VIT, Menu
from runs.older import translated

from avl_pegp.evaluation import Record
from reporting.tables import Row

# Columns of every table, and what follows from them.
_SHOWN_ELSEWHERE = {f"job.{name}" for name in ("pet", "method", "seed", "setting", "benchmark")}


@dataclass(frozen=True)
class Settings:
    """Of one part of the page.

    Attributes:
        shared: by name, what all runs have in common.
        differing: names of the others; ``values`` has them for each row.
        versions: of packages, several where runs differ.
    """

    shared: dict[str, str]
    differing: list[str]
    values: list[list[str]]
    versions: dict[str, str]


def settings_of(rows: Sequence[Row]) -> Settings:
    """Settings of all rows, sorted into what is shared and what is not."""
    flat = [[flattened(record.config) for record in row.records] for row in rows]
    names = dict.fromkeys(name for row in flat for run in row for name in run)
    found = {name: [one_of(run.get(name, "") for run in row) for row in flat] for name in names}
    shown = {name: values for name, values in found.items() if name not in _SHOWN_ELSEWHERE}
    shared = {name: values[0] for name, values in shown.items() if len(set(values)) == 1}
    differing = [name for name in shown if name not in shared]
    values = [[shown[name][i] for name in differing] for i in range(len(rows))]
    versions = [record.versions for row in rows for record in row.records]
    packages = dict.fromkeys(name for of_run in versions for name in of_run)
    return Settings(
        shared,
        differing,
        values,
        {name: ", ".join(sorted({v.get(name, "?") for v in versions})) for name in packages},
    )


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted names; what is ``None`` or empty is left out."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        elif value not in (None, [], ""):
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return found


def one_of(values: Any) -> str:
    """The one value of a row's runs."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else "by seed"


def command_of(records: Sequence[Record]) -> str:
    """The command that makes the runs of a row again; empty where no script's flags say all of it."""
    first = records[0]
    menu = CLIP if first.setting == "clip_incremental" else VIT
    if not is_said_by_flags(first, menu):
        return ""
    job = translated(first.config["job"])
    order = job["class_order"]
    flags: dict[str, Any] = {
        "benchmark": first.benchmark,
        "pet": None if first.pet == "none" else first.pet,
        "methods": first.method,
        "seeds": [record.seed for record in records],
        "no-controls": True,
        "head": job["head"],
        "correction": job["correction"],
        "backbone": None if first.backbone == menu.backbone else first.backbone,
        "epochs": None if first.setting == "online" else job["training"]["epochs"],
        "batch-size": job["training"]["batch_size"],
        "lr": pet_rate(first, menu),
        "energy": job["energy"],
        "weights": job["weights"],
        "transforms": job["transforms"],
        "template": job["template"],
        "data-root": first.config.get("machine", {}).get("data_root"),
        "options": [f"{name}={json.dumps(value)}" for name, value in job["options"].items()],
        "class-order" if isinstance(order, list) else "class-order-seed": order,
    }
    if first.setting == "online":
        flags |= {"every": job["every"], "no-boundaries": not job["boundaries"]}
    words = [word for name, value in flags.items() for word in said(name, value)]
    return shlex.join(["python", f"experiments/{first.setting}.py", *words, "--out", "runs/again"])


def is_said_by_flags(record: Record, menu: Menu) -> bool:
    """Whether method, PET and training are those that the script has under these names.

    Of a record that another version made, with other fields, that can't be known.
    """
    job = translated(record.config.get("job", {}))
    method, tuning = menu.methods.get(record.method), menu.pets.get(record.pet)
    if method is None:
        return False
    rate = pet_rate(record, menu)
    if tuning is not None and rate is not None:
        tuning = replace(tuning, lr=rate)
    # Described as it would be in a record: there, no function has an address.
    script = Job(record.setting, record.benchmark, does=method, tuning=tuning).described()
    if job.keys() != script.keys():
        return False
    script["training"] |= {name: job["training"].get(name) for name in ("epochs", "batch_size")}
    same = ("does", "tuning", "training", "backbone_options")
    return all(job[name] == script[name] for name in same)


def pet_rate(record: Record, menu: Menu) -> float | None:
    """``--lr``, where it is another than the PET's own."""
    tuning, method = menu.pets.get(record.pet), menu.methods.get(record.method)
    if tuning is None or method is None or "lr" not in record.config:
        return None
    rate = float(f"{record.config['lr'] / method.lr_factor:.12g}")
    return None if rate == tuning.lr else rate


def said(name: str, value: Any) -> list[str]:
    """The words of one flag; none where it has nothing to say."""
    if value is None or value is False or value == []:
        return []
    values = value if isinstance(value, list) else [] if value is True else [value]
    return [f"--{name}", *map(str, values)]
