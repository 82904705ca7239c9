"""Find the learning rate that suits each method on CLIP, on a seed that is not reported.

    python experiments/study.py clip_search --out runs/clip_search

The stream is named_glyphs as docs/clip_results.md has it, on seed 0. Every candidate is a method at a
share of its PET's rate; PEGP also at lower energies than the PET's own, and softly. Prints tables, and
of each method the best by the mean of final and average accuracy. plain_tuned has one share for all
PETs: the one that is best over them. What is found is written into runs/methods.py by hand. Run it
again to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from clip_incremental import run
from runs.job import Job
from runs.methods import CLIP_METHODS, CLIP_PETS, protected
from runs.resumable import many_runs

from avl_pegp.evaluation import Record
from studies.clip_results import SECTIONS, SOFTLY, references_for, softly_for
from studies.page import table

SEEDS = (0,)
LOWER = {  # energies
    f"pegp {energy}": replace(CLIP_METHODS["pegp"], pegp=protected(energy, rebase=False))
    for energy in (0.95, 0.9, 0.8, 0.6)
}
SHARES = {  # of the PET's rate
    "plain": (1.0, 0.25, 0.125),
    **dict.fromkeys(("pegp", *LOWER, *SOFTLY, "pegp_references"), (1.0, 0.25)),
    **dict.fromkeys(("ewc", "lwf", "zscl"), (1.0, 0.25, 0.125)),
}


def name_of(method: str, share: float) -> str:
    """What a candidate is called."""
    return f"{method} x{share:g}"


METHODS = {
    name_of(method, share): replace((CLIP_METHODS | LOWER)[method], lr_factor=share)
    for method, shares in SHARES.items()
    for share in shares
}
STREAM = SECTIONS[0].job


def methods_of(pet: str) -> list[str]:
    """Which methods are searched with a PET: baselines with LoRA alone, as they are reported."""
    return [
        "plain",
        *(("ewc", "lwf", "zscl") if pet == "lora" else ()),
        "pegp",
        *LOWER,
        *softly_for(pet),
        *references_for(pet),
    ]


ROWS = [
    (pet, name_of(m, share)) for pet in CLIP_PETS for m in methods_of(pet) for share in SHARES[m]
]


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every candidate on every seed."""
    return STREAM.variants(ROWS, seeds, METHODS, pets=CLIP_PETS)


def score(records: Sequence[Record], pet: str, method: str) -> float:
    """Mean of final and average accuracy."""
    rows = [r for r in records if (r.pet, r.method) == (pet, method)]
    return mean((r.average_accuracy + r.average_incremental_accuracy) / 2 for r in rows)


def main() -> None:
    _, records = many_runs(__doc__, jobs_of, {"clip_incremental": run}, SEEDS)
    print(table(records, reference=None), "\n")
    for pet in CLIP_PETS:
        for method in methods_of(pet):
            scores = {s: score(records, pet, name_of(method, s)) for s in SHARES[method]}
            best = max(scores, key=scores.__getitem__)
            print(f"{pet}: {name_of(method, best)}, {100 * scores[best]:.1f}")
    over_pets = {
        s: mean(score(records, p, name_of("plain", s)) for p in CLIP_PETS) for s in SHARES["plain"]
    }
    print(", ".join(f"plain x{s:g} over all PETs: {100 * n:.1f}" for s, n in over_pets.items()))


if __name__ == "__main__":
    main()
