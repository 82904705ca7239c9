"""Find the settings for photographs: every method alike, on images and orders that are not reported.

    python experiments/study.py photo_search --cifar100 DATA --out runs/photo_search

CIFAR-100 in ten experiences, 20 training images a class, drawn by another seed than those of the page.
Every method has four candidates: baselines in strength and learning rate, PEGP in energy and rate,
plain and first_session in the rate. A candidate counts by its best head, of statistics as they were
stored. Prints a table, and of each method the best by the mean of final and average accuracy: what
photographs.py takes over. Run it again to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import class_incremental
from runs.job import Job
from runs.methods import Method, protected
from runs.resumable import many_runs
from runs.training import Training

from avl_pegp.evaluation import Record, markdown
from studies.photographs import PETS
from studies.side_by_side import SideBySide, told_apart

SEEDS = (0,)  # the page is of others
OPTIONS = {"train_per_class": 20, "test_per_class": 10, "seed": 1, "n_experiences": 10}


def rates(tunes: Any, factors: Sequence[float]) -> dict[str, Method]:
    """Four learning rates, as shares of the PET's own."""
    return {f"x{f:g}": Method(tunes, lr_factor=f) for f in factors}


def at_rates(values: Sequence[float], factors: Sequence[float], of: Any) -> dict[str, Method]:
    """A method with each of these values at each of these rates."""
    return {
        f"{value:g} x{f:g}": Method(lr_factor=f, **of(value)) for value in values for f in factors
    }


def plugin(kind: str, argument: str) -> Any:
    """What a baseline with this argument is."""
    return lambda value: {"baseline": {"kind": kind, argument: value}}


def projected(energy: float) -> dict[str, Any]:
    """PEGP with this energy about the mean."""
    return {"pegp": protected(energy)}


def distilled(strength: float) -> dict[str, Any]:
    """PEGP beside feature distillation."""
    return {"pegp": {}} | plugin("feature_distillation", "strength")(strength)


CANDIDATES = {
    "first_session": rates("first", (1 / 4, 1 / 2, 1, 2)),
    "plain_tuned": rates("always", (1 / 64, 1 / 32, 1 / 16, 1 / 8)),
    "plain_ema": at_rates((0.1, 0.3), (1 / 16, 1 / 4), plugin("task_average", "alpha")),
    "lwf": at_rates((3, 10), (1 / 16, 1 / 4), plugin("lwf", "strength")),
    "fd": at_rates((10, 100), (1 / 16, 1 / 4), plugin("feature_distillation", "strength")),
    "pegp": at_rates((0.9, 0.985), (1 / 4, 1), projected),
    "pegp_fd": at_rates((10, 100), (1 / 4, 1), distilled),
}
METHODS = {f"{name} {c}": m for name, found in CANDIDATES.items() for c, m in found.items()}
ROWS = [(pet, candidate) for pet in PETS for candidate in METHODS]


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every candidate with every PET on every seed."""
    base = Job(
        "class_incremental",
        "split_cifar100",
        backbone="tiny_vit_32.photos",
        options=OPTIONS,
        training=Training(batch_size=32),
        class_order=100,
    )
    return base.variants(ROWS, seeds, METHODS, pets=PETS)


def run(job: Job, logs: Path) -> Record:
    """The recipe, with heads looking on."""
    side = SideBySide(("lda", "qda", "ranpac"), oracle=False)
    record = class_incremental.run(job, logs, side)
    return replace(record, config=record.config | {"side_by_side": side.told()})


def score(records: Sequence[Record]) -> tuple[float, str]:
    """Mean of final and average accuracy by the best head, and which that is."""
    apart = [told_apart(record) for record in records]

    def worth(pick: tuple[str, str]) -> float:
        rows = [told[pick] for told in apart]
        return mean((r.average_accuracy + r.average_incremental_accuracy) / 2 for r in rows)

    best = max(apart[0], key=worth)
    return worth(best), best[0]


def main() -> None:
    _, records = many_runs(
        __doc__,
        jobs_of,
        {"class_incremental": run},
        SEEDS,
        downloaded={"split_cifar100": "--cifar100"},
    )
    of = {row: [r for r in records if (r.pet, r.method) == row] for row in ROWS}
    scores = {row: score(found) for row, found in of.items()}
    lines = [["PET", "candidate", "head", "score"]]
    lines += [[*row, head, f"{100 * worth:.1f}"] for row, (worth, head) in scores.items()]
    print(markdown(lines, names=3), "\n")
    for (pet, name), rows in groupby(ROWS, key=lambda row: (row[0], row[1].split()[0])):
        best = max(rows, key=lambda row: scores[row][0])
        print(f"{pet} {name}: {best[1]}, {100 * scores[best][0]:.1f}")


if __name__ == "__main__":
    main()
