"""Find the settings of every method the same way: four candidates each, on a seed not reported.

    python experiments/search.py --out runs/search

The stream is shifted_glyphs. Rivals are searched in their strength and PEGP in energy and protection, at
the PET's learning rate; plain and first_session, which have no setting of their own, in that rate.
Prints a table; methods.py takes over the best by final plus average accuracy. The images are those that
results are reported on, with other orders and initial weights. Run it again to go on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from job import Job
from methods import Method
from page import table
from resumable import many_runs
from sections import template

from avl_pegp.plugins import EWCPlugin, L2Plugin, LwFPlugin
from avl_pegp.projection import Protection

SEED = 0  # results are reported on others


def pegp(energy: float, centred: bool = True, rebase: bool = False) -> Method:
    """PEGP with these settings in the place of the PET's own."""
    protection = Protection(centred=centred)
    return Method(pegp={"energy": energy, "protection": protection, "rebase": rebase})


LOOSE = {"uncentred 0.99": pegp(0.99, centred=False), "centred 0.95": pegp(0.95)}
STRICT = {"centred 0.985": pegp(0.985), "centred 0.995": pegp(0.995)}
REBASE = {"rebase 0.97": pegp(0.97, rebase=True), "rebase 0.985": pegp(0.985, rebase=True)}
FACTORS = (0.25, 0.5, 1, 2)  # what has no setting of its own has the learning rate
CANDIDATES: dict[str, dict[str, Method]] = {
    "lora": {
        **{f"plain x{f:g}": Method(lr_factor=f) for f in FACTORS},
        **{f"first_session x{f:g}": Method("first", lr_factor=f) for f in FACTORS},
        **{f"l2 {s:g}": Method(rival=partial(L2Plugin, s)) for s in (1e-2, 1e-1, 1, 10)},
        **{
            f"ewc {s:g}": Method(rival=partial(EWCPlugin, s, samples=100))
            for s in (1e2, 1e3, 1e4, 1e5)
        },
        **{f"lwf {s:g}": Method(rival=partial(LwFPlugin, s)) for s in (0.3, 1, 3, 10)},
        **LOOSE,
        **REBASE,
    },
    "adapter": LOOSE | REBASE,
    "prefix": LOOSE | STRICT,
    "prompt": LOOSE | STRICT,
}
METHODS = {name: m for candidates in CANDIDATES.values() for name, m in candidates.items()}


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every candidate on every seed."""
    base = template("class_incremental", "shifted_glyphs", table="search")
    return [
        replace(base, pet=pet, method=method, seed=seed)
        for pet, candidates in CANDIDATES.items()
        for method in candidates
        for seed in seeds
    ]


def main() -> None:
    _, records = many_runs(__doc__, jobs_of, seeds=[SEED])
    print(table(records, reference=None))


if __name__ == "__main__":
    main()
