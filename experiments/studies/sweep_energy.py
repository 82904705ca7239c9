"""Stability against plasticity: what each share of protected energy keeps, and what it leaves to learn.

    python experiments/study.py sweep_energy --out runs/energy

Runs PEGP with several energies on shifted_glyphs and draws, one line a PET, accuracy on the newest
experience against forgetting, both task-aware. Several runs at a time; run it again to go on after
an interruption. Writes docs/energy.png and DIR/energy.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import class_incremental
from runs.job import Job
from runs.methods import PETS, Method
from runs.resumable import many_runs

from avl_pegp.evaluation import new_task_accuracy, stability_plasticity
from studies.page import grouped, table
from studies.sections import template

FIGURE = Path(__file__).parents[2] / "docs" / "energy.png"
ENERGIES = (0.5, 0.9, 0.97, 0.995, 1.0)
METHODS = {f"energy {energy:g}": Method(pegp={"energy": energy}) for energy in ENERGIES}
LABELS = {name: name.removeprefix("energy ") for name in METHODS}
METHODS |= {"plain": Method(), "first_session": Method("first")}


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every energy and control with every PET on every seed."""
    rows = [(pet, method) for pet in PETS for method in METHODS]
    return template("class_incremental", "shifted_glyphs").variants(rows, seeds, METHODS)


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, {"class_incremental": class_incremental.run})
    lines: dict[str, dict[str, Any]] = {pet: {} for pet in PETS}
    for (pet, method), group in grouped(records).items():
        lines[pet][LABELS.get(method, f"*{method}")] = (
            [record.task_aware_forgetting for record in group],
            [new_task_accuracy(record.task_aware_accuracy_matrix) for record in group],
        )
    figure = stability_plasticity(lines, "shifted_glyphs, class-incremental, lda head")
    figure.savefig(FIGURE, dpi=150)
    (args.out / "energy.md").write_text(table(records, reference="energy 0.97") + "\n")
    print(f"Wrote {FIGURE}")


if __name__ == "__main__":
    main()
