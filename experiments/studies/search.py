"""Find the settings of every method the same way: eight candidates each, on seeds not reported.

    python experiments/study.py search --out runs/search

Streams are shifted_glyphs, class-incremental, and on the first seed domain_glyphs, with other images,
orders and initial weights than those that results are reported on. Baselines are searched in strength
and learning rate, PEGP in energy and protection at the PET's rate; plain and first_session, which have
nothing else, in the rate. Prints tables, and of each method the best by final and average accuracy,
averaged over streams: what runs/methods.py takes over. Run it again to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import mean
from typing import Any, Literal

import class_incremental
import domain_incremental
from runs.job import Job, Run
from runs.methods import Method, protected
from runs.resumable import many_runs

from avl_pegp.evaluation import Record
from studies.page import table
from studies.sections import DOMAINS, SMALL, template

RECIPES: dict[str, Run] = {
    "class_incremental": class_incremental.run,
    "domain_incremental": domain_incremental.run,
}
SEEDS = (0, 4)  # results are reported on others
STREAMS = (  # images are of seed 1, and reported are those of seed 0
    template("class_incremental", "shifted_glyphs", options={**SMALL, "seed": 1}),
    template("domain_incremental", "domain_glyphs", head="linear", options={**DOMAINS, "seed": 1}),
)


def pegp(
    energies: Sequence[float], *, centred: bool = True, rebase: bool = False
) -> dict[str, Method]:
    """PEGP with these energies, and settings in the place of the PET's own."""
    kind = "rebase" if rebase else "centred" if centred else "uncentred"
    return {
        f"{kind} {e:g}": Method(pegp=protected(e, centred=centred, rebase=rebase)) for e in energies
    }


def rates(name: str, tunes: Literal["always", "first"]) -> dict[str, Method]:
    """A control without settings of its own, at several learning rates."""
    factors = (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8)
    return {f"{name} x{f:g}": Method(tunes, lr_factor=f) for f in factors}


def baseline(kind: str, strengths: Sequence[float], **arguments: Any) -> dict[str, Method]:
    """A baseline at several strengths and two learning rates."""
    return {
        f"{kind} {s:g} x{f:g}": Method(
            baseline={"kind": kind, "strength": s, **arguments}, lr_factor=f
        )
        for s in strengths
        for f in (0.25, 1)
    }


EITHER = pegp((0.97, 0.99), centred=False) | pegp((0.9, 0.95, 0.985))
REBASE = pegp((0.95, 0.97, 0.985), rebase=True)
TOKENS = pegp((0.97, 0.99, 0.995), centred=False) | pegp((0.9, 0.95, 0.97, 0.985, 0.995))
CANDIDATES: dict[str, dict[str, Method]] = {
    "lora": {
        **rates("plain", "always"),
        **rates("first_session", "first"),
        **baseline("l2", (0.1, 1, 10, 100)),
        **baseline("ewc", (1e3, 1e4, 1e5, 1e6), samples=100),
        **baseline("lwf", (1, 3, 10, 30)),
        **EITHER,
        **REBASE,
    },
    "adapter": EITHER | REBASE,
    "prefix": TOKENS,
    "prompt": TOKENS,
}
ROWS = [(pet, method) for pet, candidates in CANDIDATES.items() for method in candidates]
METHODS = {name: m for candidates in CANDIDATES.values() for name, m in candidates.items()}


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every candidate on every seed."""
    classes, domains = STREAMS
    shifted = classes.variants(ROWS, seeds, METHODS)
    return shifted + domains.variants(ROWS, seeds[:1], METHODS)


def main() -> None:
    _, records = many_runs(__doc__, jobs_of, RECIPES, SEEDS)
    for stream in STREAMS:
        print(table([r for r in records if r.benchmark == stream.benchmark], reference=None), "\n")
    for (pet, _), candidates in groupby(ROWS, key=family):
        best = max(candidates, key=lambda candidate: score(records, *candidate))
        print(f"{pet}: {best[1]}, {100 * score(records, *best):.1f}")


def family(candidate: tuple[str, str]) -> tuple[str, str]:
    """Candidates among which one is chosen: those of one PET and method."""
    pet, method = candidate
    return pet, "pegp" if METHODS[method].pegp is not None else method.split()[0]


def score(records: Sequence[Record], pet: str, method: str) -> float:
    """Mean of final and average accuracy, each stream counting alike."""
    rows = [r for r in records if (r.pet, r.method) == (pet, method)]
    both = [(r.benchmark, r.average_accuracy + r.average_incremental_accuracy) for r in rows]
    return mean(mean(sum_ / 2 for name, sum_ in both if name == s.benchmark) for s in STREAMS)


if __name__ == "__main__":
    main()
