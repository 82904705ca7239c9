"""Find the settings of every method the same way: eight candidates each, on seeds not reported.

    python experiments/search.py --out runs/search

The stream is shifted_glyphs, with other images, orders and initial weights than those that results are
reported on. Rivals are searched in strength and learning rate, PEGP in energy and protection at the
PET's rate; plain and first_session, which have nothing else, in the rate. Prints a table; methods.py
takes over the best by final plus average accuracy. Run it again to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from job import Job
from methods import Method
from page import table
from resumable import many_runs
from sections import SMALL, template

from avl_pegp.plugins import EWCPlugin, L2Plugin, LwFPlugin
from avl_pegp.projection import Protection

SEEDS = (0, 4)  # results are reported on others
IMAGES = {**SMALL, "seed": 1}  # and on those of seed 0


def pegp(energies: Sequence[float], **settings: Any) -> dict[str, Method]:
    """PEGP with these energies, and settings in the place of the PET's own."""
    protection = Protection(centred=settings.get("centred", True))
    rebase = settings.get("rebase", False)
    kind = "rebase" if rebase else "centred" if protection.centred else "uncentred"
    return {
        f"{kind} {e:g}": Method(pegp={"energy": e, "protection": protection, "rebase": rebase})
        for e in energies
    }


def rates(name: str, tunes: Literal["always", "first"]) -> dict[str, Method]:
    """A control without settings of its own, at several learning rates."""
    factors = (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8)
    return {f"{name} x{f:g}": Method(tunes, lr_factor=f) for f in factors}


def rival(
    name: str, plugin: Callable[[float], Any], strengths: Sequence[float]
) -> dict[str, Method]:
    """A rival at several strengths and two learning rates."""
    return {
        f"{name} {strength:g} x{f:g}": Method(rival=partial(plugin, strength), lr_factor=f)
        for strength in strengths
        for f in (0.25, 1)
    }


EITHER = pegp((0.97, 0.99), centred=False) | pegp((0.9, 0.95, 0.985))
REBASE = pegp((0.95, 0.97, 0.985), rebase=True)
TOKENS = pegp((0.97, 0.99, 0.995), centred=False) | pegp((0.9, 0.95, 0.97, 0.985, 0.995))
CANDIDATES: dict[str, dict[str, Method]] = {
    "lora": {
        **rates("plain", "always"),
        **rates("first_session", "first"),
        **rival("l2", L2Plugin, (0.1, 1, 10, 100)),
        **rival("ewc", partial(EWCPlugin, samples=100), (1e3, 1e4, 1e5, 1e6)),
        **rival("lwf", LwFPlugin, (1, 3, 10, 30)),
        **EITHER,
        **REBASE,
    },
    "adapter": EITHER | REBASE,
    "prefix": TOKENS,
    "prompt": TOKENS,
}
METHODS = {name: m for candidates in CANDIDATES.values() for name, m in candidates.items()}


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every candidate on every seed."""
    base = template("class_incremental", "shifted_glyphs", table="search", options=IMAGES)
    return [
        replace(base, pet=pet, method=method, seed=seed)
        for pet, candidates in CANDIDATES.items()
        for method in candidates
        for seed in seeds
    ]


def main() -> None:
    _, records = many_runs(__doc__, jobs_of, SEEDS)
    print(table(records, reference=None))


if __name__ == "__main__":
    main()
