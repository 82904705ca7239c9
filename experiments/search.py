"""Find the settings of every method the same way: four candidates each, on a seed not reported.

    python experiments/search.py --out runs/search

The stream is shifted_glyphs, where tuning pays. Prints final and average accuracy of each candidate;
methods.py takes over the best by their sum. The folder keeps what is done: run it again to go on.
"""

from __future__ import annotations

from dataclasses import replace

from job import Job
from methods import Method
from results import template
from resumable import many_runs
from rich.console import Console

from avl_pegp.evaluation import console_table
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
FASTER = (0.25, 0.5, 1, 2)  # what has no setting of its own has the learning rate
CANDIDATES: dict[str, dict[str, Method]] = {
    "lora": {
        **{f"plain x{f:g}": Method(faster=f) for f in FASTER},
        **{f"first_session x{f:g}": Method("first", faster=f) for f in FASTER},
        **{f"l2 {s:g}": Method(rival=lambda s=s: L2Plugin(s)) for s in (1e-2, 1e-1, 1, 10)},
        **{
            f"ewc {s:g}": Method(rival=lambda s=s: EWCPlugin(s, samples=100))
            for s in (1e2, 1e3, 1e4, 1e5)
        },
        **{f"lwf {s:g}": Method(rival=lambda s=s: LwFPlugin(s)) for s in (0.3, 1, 3, 10)},
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
    Console().print(console_table(records))


if __name__ == "__main__":
    main()
